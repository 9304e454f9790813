"""What the rule says: plain functions, which run without any sandbox."""

from dataclasses import dataclass, field

from windows import Exempt, Once, Settings, Weekly, show


@dataclass
class Opinion:
    """Why an image may not be deployed now: code and message. `None` for both if it may."""

    code: str | None = None
    message: str | None = None
    # The last second at which this is still so; `None` if time does not matter.
    valid_until: int | None = None
    annotations: list[tuple[str, str]] = field(default_factory=list)


def judge(workload, now: int, settings: Settings, windows: list[Once | Weekly]) -> Opinion:
    """
    `workload` has the members of `ruling.Workload`, or is `None` where no cluster asks. `windows` are those of
    the settings and of the documents.
    """
    if workload is None:
        if settings.without_workload == "allow":
            return Opinion()
        if settings.without_workload == "deny":
            return Opinion(
                "no-workload",
                "nothing says who deploys the image and where to; this freeze is for a cluster's requests",
            )
    else:
        why = exemption(workload, settings)
        if why is not None:
            frozen = any(window.end_at(now) is not None for window in windows)
            return Opinion(annotations=[("exempt", why)] if frozen else [])
    ends = [(window.end_at(now), window) for window in windows]
    # Of several windows the one that ends last is what to wait for.
    frozen = [(end, window) for end, window in ends if end is not None]
    if frozen:
        end, window = max(frozen, key=lambda found: found[0])
        return Opinion(
            "frozen",
            f"deployments are frozen until {show(end, window.offset)} ({window.name}); deploy after that, "
            "or ask for an exemption",
        )
    begins = [begin for begin in (window.next_begin(now) for window in windows) if begin is not None]
    return Opinion(valid_until=min(*begins, LAST + 1) - 1 if begins else None)


def exemption(workload, settings: Settings) -> str | None:
    """Why no window concerns this request."""
    if workload.operation in HARMLESS:
        return f"operation {workload.operation}"
    if settings.controllers == "allow" and is_controller(workload.user):
        return "controller"
    exempt: Exempt = settings.exempt
    if workload.namespace is not None and fits(exempt.namespaces, workload.namespace):
        return f"namespace {workload.namespace}"
    if fits(exempt.users, workload.user):
        return f"user {workload.user}"
    for group in workload.groups:
        if fits(exempt.groups, group):
            return f"group {group}"
    for name, value in exempt.labels:
        if (name, value) in [tuple(label) for label in workload.labels]:
            return f"label {name}={value}"
    return None


def is_controller(user: str) -> bool:
    """
    Whether this is one of the cluster's own controllers, which carry out what was deployed before: they replace
    a pod whose node failed, and run the jobs that are due.
    """
    if user == "system:kube-controller-manager":
        return True
    name = user.removeprefix(CONTROLLERS)
    return name != user and name in CONTROLLER_NAMES


def fits(patterns: tuple[str, ...], text: str) -> bool:
    """Whether a text is one of these, or begins as one that ends in `*` says."""
    return any(
        text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern for pattern in patterns
    )


# Times are 64 bits wide (wit/deps/countersign-policy/rule.wit).
LAST = 2**64 - 1

# What these do is no deployment. Whatever else a cluster asks about is judged, also what is not known yet.
HARMLESS = ("DELETE", "CONNECT")

# Names by which the controllers of kube-controller-manager sign in (--use-service-account-credentials, which
# kubeadm and all common distributions set; without it they are system:kube-controller-manager).
CONTROLLERS = "system:serviceaccount:kube-system:"
CONTROLLER_NAMES = (
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "job-controller",
    "replicaset-controller",
    "replication-controller",
    "statefulset-controller",
)
