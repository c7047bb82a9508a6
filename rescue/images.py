# What comes from outside (MicroPython): verified by rauc or openssl before a single octet of it is used.
import os

KEYRING = "/etc/rauc/keyring.pem"
CONF = "/etc/rauc/system.conf"
MAX_TOKEN = 65536


class RefusedError(Exception):
    pass


def run(command):
    # The unix port gives the raw wait status.
    return os.system(command) >> 8


def quoted(word):
    return "'" + word.replace("'", "'\\''") + "'"


def size_of(path):
    return os.stat(path)[6]


class Images:
    def __init__(self, work, keyring=KEYRING, conf=CONF, rauc="rauc", openssl="openssl"):
        self.work = work
        self.keyring = keyring
        self.conf = conf
        self.rauc = rauc
        self.openssl = openssl

    def install(self, bundle, device):
        # The bundle's signature, board and floor are rauc's to judge; what it extracts it has verified.
        out = self.work + "/bundle"
        run("rm -rf " + quoted(out))
        words = (self.rauc, "--conf=" + quoted(self.conf), "--keyring=" + quoted(self.keyring))
        said = self.work + "/said"
        info = " ".join(words) + " info --output-format=shell %s >%s 2>&1" % (quoted(bundle), quoted(said))
        if run(info):
            raise RefusedError("the image is not accepted: " + self.last_line(said))
        if self.value(said, "RAUC_MF_COMPATIBLE") != self.compatible():
            raise RefusedError("the image is for another machine: " + self.value(said, "RAUC_MF_COMPATIBLE"))
        if run(" ".join(words) + " extract %s %s >%s 2>&1" % (quoted(bundle), quoted(out), quoted(said))):
            raise RefusedError("the image cannot be read: " + self.last_line(said))
        if run("dd if=%s/slot.img of=%s bs=1M conv=notrunc 2>%s && sync" % (quoted(out), quoted(device), quoted(said))):
            raise RefusedError("the slot cannot be written: " + self.last_line(said))
        run("rm -rf " + quoted(out))

    def compatible(self):
        with open(self.conf) as file:
            for line in file:
                if line.startswith("compatible="):
                    return line.strip()[11:]
        return ""

    def token(self, path, wanted):
        # A CMS document, signed by the authority of the images, whose content is `wanted` to the letter.
        if size_of(path) > MAX_TOKEN:
            raise RefusedError("the token is too large")
        content, said = self.work + "/content", self.work + "/said"
        command = "%s cms -verify -inform DER -purpose any -CAfile %s -in %s -out %s 2>%s"
        words = (self.openssl, quoted(self.keyring), quoted(path), quoted(content), quoted(said))
        if run(command % words):
            raise RefusedError("the token's signature is not good")
        with open(content, "rb") as file:
            if file.read(len(wanted) + 3).rstrip(b"\r\n") != wanted.encode():
                raise RefusedError("the token is for something else")

    def last_line(self, path):
        with open(path) as file:
            lines = [line.strip() for line in file.read().split("\n") if line.strip()]
        return lines[-1] if lines else "no reason was given"

    def value(self, path, name):
        with open(path) as file:
            for line in file:
                if line.startswith(name + "="):
                    return line.strip()[len(name) + 1 :].strip("'\"")
        return ""
