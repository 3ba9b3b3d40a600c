"""Takes mail with aiosmtpd. The job comes as JSON; what arrives goes out as JSON, a message a line. Ends with its input."""
import base64
import json
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

job = json.loads(sys.argv[1])


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("bad"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 taken"

    async def handle_DATA(self, server, session, envelope):
        if envelope.rcpt_tos[0].startswith("content"):
            return "554 5.7.1 not wanted"
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "options": envelope.mail_options,
            "tls": session.ssl is not None, "user": session.auth_data or "",
            "content": base64.b64encode(envelope.original_content).decode(),
        }), flush=True)
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login.decode() == job["user"] and data.password.decode() == job["password"]
    return AuthResult(success=good, handled=False, auth_data=data.login.decode())


options = {"enable_SMTPUTF8": True, "data_size_limit": 1 << 26}
if job["user"]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(job["certificate"], job["key"])
    options.update(tls_context=context, require_starttls=True, authenticator=authenticate, auth_required=True)
controller = Controller(Handler(), hostname="127.0.0.1", port=job["port"], **options)
controller.start()
sys.stdin.read()
controller.stop()
