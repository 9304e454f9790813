import unittest

from judge import judge, read_settings

HOSTS = ["registry.example.com"]


class Judge(unittest.TestCase):
    def test_allows_a_known_registry(self):
        self.assertEqual(judge("registry.example.com/ns/app", HOSTS), [])

    def test_denies_a_registry_whose_name_only_begins_like_a_known_one(self):
        [(code, _)] = judge("registry.example.com.evil.example/ns/app", HOSTS)
        self.assertEqual(code, "registry-unknown")

    def test_denies_what_has_no_registry(self):
        self.assertEqual(judge(None, HOSTS)[0][0], "registry-missing")

    def test_finds_mistakes_in_settings(self):
        for text in ["{}", "null", '{"hosts":[]}', '{"hosts":[1]}', '{"hosts":"a"}']:
            self.assertEqual(len(read_settings(text)[1]), 1, text)


if __name__ == "__main__":
    unittest.main()
