"""TLSA records of the lab's certificates."""

import hashlib
import subprocess


def der(cert, selector):
    """DER of the certificate (0) or of its public key (1)."""
    def run(*argv, **kw):
        return subprocess.run(["openssl", *argv], check=True,
                              capture_output=True, **kw).stdout
    if selector == 0:
        return run("x509", "-in", cert, "-outform", "DER")
    return run("pkey", "-pubin", "-outform", "DER",
               input=run("x509", "-in", cert, "-noout", "-pubkey"))


def tlsa(usage, selector, matching, cert, owner="_25._tcp.mx"):
    data = der(cert, selector)
    digest = {0: data.hex(), 1: hashlib.sha256(data).hexdigest(),
              2: hashlib.sha512(data).hexdigest()}[matching]
    return "%s TLSA %d %d %d %s" % (owner, usage, selector, matching, digest)
