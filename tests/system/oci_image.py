"""An OCI image layout on disk, as deploy/image/build writes it.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import hashlib
import io
import json
import pathlib
import tarfile

INDEX = "application/vnd.oci.image.index.v1+json"


class Layout:
    """index.json, the image index that it names, and an Image for each platform."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.top,) = json.loads((self.folder / "index.json").read_text())["manifests"]
        assert self.top["mediaType"] == INDEX, self.top
        self.digest = self.top["digest"]
        manifests = self.json(self.top)["manifests"]
        self.images = {_platform(manifest["platform"]): Image(self, manifest) for manifest in manifests}

    def blob(self, descriptor):
        """That blob, with its size and digest checked."""
        algorithm, _, digest = descriptor["digest"].partition(":")
        data = (self.folder / "blobs" / algorithm / digest).read_bytes()
        assert (algorithm, len(data)) == ("sha256", descriptor["size"]), descriptor
        assert hashlib.sha256(data).hexdigest() == digest, descriptor
        return data

    def json(self, descriptor):
        return json.loads(self.blob(descriptor))


class Image:
    def __init__(self, layout, descriptor):
        self._layout = layout
        self.manifest = layout.json(descriptor)
        self.document = layout.json(self.manifest["config"])  # created, architecture, rootfs...
        self.config = self.document["config"]  # Entrypoint, User, Labels...

    @property
    def compressed_bytes(self):
        """What a node downloads."""
        return sum(blob["size"] for blob in [self.manifest["config"], *self.manifest["layers"]])

    def files(self):
        """The root file system: path -> (tarfile.TarInfo, bytes or None)."""
        found = {}
        for layer in self.manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(self._layout.blob(layer))) as archive:
                for member in archive:
                    content = archive.extractfile(member).read() if member.isfile() else None
                    found["/" + member.name.strip("/")] = (member, content)
        return found

    def extract(self, folder):
        for path, (member, content) in self.files().items():
            assert member.isfile() or member.isdir(), f"{path}: neither file nor folder"
            target = folder / path.lstrip("/")
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.write_bytes(content)
            target.chmod(member.mode)


def _platform(platform):
    return "/".join(platform[part] for part in ("os", "architecture", "variant") if part in platform)
