"""Certificates for tests, made with openssl: an authority, and what it signs."""

import subprocess


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


class Authority:
    """A certificate authority with its files in `folder`: NAME.crt and NAME.key."""

    def __init__(self, folder, name="ca"):
        self._folder = folder
        self.certificate = folder / f"{name}.crt"
        self._key = folder / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key,
                 "-out", self.certificate)

    def sign(self, name, names, usage="serverAuth", key="ec"):
        """Makes `folder`/name.crt and .key for these subjectAltNames, such as "DNS:a,IP:::1"."""
        certificate, secret = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage={usage}\n")
        kind = (["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["rsa:2048"])
        _openssl("req", "-new", "-newkey", *kind, "-nodes", "-subj", f"/CN={name}",
                 "-keyout", secret, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
                 "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", certificate)
        return certificate, secret
