// Sends a message with nodemailer. The job comes as JSON, the refusal goes out.
'use strict';
const fs = require('fs');
const nodemailer = require('nodemailer');

const job = JSON.parse(process.argv[2]);
const credentials = { XOAUTH2: { type: 'OAuth2', user: job.user, accessToken: job.password } };
const transport = nodemailer.createTransport({
	host: job.host,
	port: job.port,
	name: 'client.example.test',
	secure: job.security === 'implicit',
	requireTLS: job.security === 'STARTTLS',
	ignoreTLS: job.security === 'none',
	tls: { ca: fs.readFileSync(job.ca) },
	authMethod: job.mechanism || undefined,
	auth: credentials[job.mechanism] || (job.mechanism ? { user: job.user, pass: job.password } : undefined),
});
transport.sendMail({
	envelope: { from: job.from, to: [job.to] },
	raw: fs.readFileSync(job.file),
}).catch((err) => {
	console.error(err.response || err);
	process.exitCode = 1;
});
