"""Sends a message with aiosmtplib. The job comes as JSON, the refusal goes out."""
import asyncio
import json
import ssl
import sys

import aiosmtplib

job = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=job["ca"])
with open(job["file"], "rb") as f:
    message = f.read()


async def send():
    s = aiosmtplib.SMTP(
        hostname=job["host"], port=job["port"], local_hostname="client.example.test", timeout=60,
        use_tls=job["security"] == "implicit", start_tls=False, tls_context=context,
    )
    async with s:
        if job["security"] == "STARTTLS":
            await s.starttls(tls_context=context)
        if job["mechanism"]:
            await s.ehlo()
            await getattr(s, "auth_" + job["mechanism"].lower())(job["user"], job["password"])
        await s.sendmail(job["from"], [job["to"]], message)


try:
    asyncio.run(send())
except (aiosmtplib.SMTPException, ssl.SSLError) as e:
    sys.exit(repr(e))
