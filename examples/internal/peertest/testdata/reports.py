"""Reads reports with flufl.bounce. The arguments are files; a line of JSON goes out for each with what it takes for
failures, passing ones and final ones."""
import email
import json
import sys

from flufl.bounce import all_failures

for name in sys.argv[1:]:
    with open(name, "rb") as f:
        temporary, permanent = all_failures(email.message_from_binary_file(f))
    text = lambda found: sorted(a.decode() if isinstance(a, bytes) else a for a in found)
    print(json.dumps({"file": name, "temporary": text(temporary), "permanent": text(permanent)}))
