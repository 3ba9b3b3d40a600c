"""Verifies DKIM signatures with dkimpy. The arguments are a file of keys, one a line (name, value), and messages.

A line goes out for each signature: file, domain, selector, pass or fail.
"""
import re
import sys

import dkim

with open(sys.argv[1]) as f:
    keys = dict(line.rstrip("\n").split(" ", 1) for line in f)


def lookup(name, timeout=5):
    return keys.get(name.decode().rstrip("."), "").encode() or None


for name in sys.argv[2:]:
    with open(name, "rb") as f:
        message = f.read()
    header = message.partition(b"\r\n\r\n")[0]
    for i in range(len(re.findall(rb"(?im)^dkim-signature:", header))):
        d = dkim.DKIM(message)
        try:
            good = d.verify(i, dnsfunc=lookup)
        except dkim.DKIMException as e:
            print(e, file=sys.stderr)
            good = False
        print(name, d.domain.decode(), d.selector.decode(), "pass" if good else "fail")
