"""Sends a message with smtplib. The job comes as JSON, the refusal goes out."""
import json
import smtplib
import ssl
import sys

job = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=job["ca"])
if job["certificate"]:
    context.load_cert_chain(job["certificate"], job["key"])
with open(job["file"], "rb") as f:
    message = f.read()
# What smtplib leaves to its callers. The challenge of a refusal is not empty, and has to be answered.
user, bearer = job["user"], "\1auth=Bearer " + job["password"] + "\1\1"
others = {
    "XOAUTH2": lambda challenge=None: "" if challenge else "user=" + user + bearer,
    "OAUTHBEARER": lambda challenge=None: "\1" if challenge else "n,a=" + user + "," + bearer,
    "EXTERNAL": lambda challenge=None: "",
}
try:
    if job["security"] == "implicit":
        s = smtplib.SMTP_SSL(job["host"], job["port"], "client.example.test", context=context)
    else:
        s = smtplib.SMTP(job["host"], job["port"], "client.example.test")
    with s:
        s.ehlo()
        if job["security"] == "STARTTLS":
            s.starttls(context=context)
            s.ehlo()
        if job["mechanism"]:
            s.user, s.password = job["user"], job["password"]
            method = others.get(job["mechanism"]) or getattr(s, "auth_" + job["mechanism"].lower())
            s.auth(job["mechanism"], method, initial_response_ok=job["initial"])
        s.sendmail(job["from"], [job["to"]], message)
except smtplib.SMTPException as e:
    sys.exit(repr(e))
