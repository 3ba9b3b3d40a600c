// Takes mail with smtp-server. The job comes as JSON; what arrives goes out as JSON, a message a line. Ends with its input.
'use strict';
const fs = require('fs');
const { SMTPServer } = require('smtp-server');

const job = JSON.parse(process.argv[2]);
const refuse = (code, text) => Object.assign(new Error(text), { responseCode: code });
const logon = job.user !== '';
const server = new SMTPServer({
	authOptional: !logon,
	disabledCommands: logon ? [] : ['STARTTLS', 'AUTH'],
	cert: logon ? fs.readFileSync(job.certificate) : undefined,
	key: logon ? fs.readFileSync(job.key) : undefined,
	onAuth(auth, session, done) {
		const good = auth.username === job.user && auth.password === job.password;
		done(good ? null : refuse(535, '5.7.8 no'), { user: auth.username });
	},
	onRcptTo(address, session, done) {
		done(address.address.startsWith('bad') ? refuse(550, '5.1.1 no such user') : null);
	},
	onData(stream, session, done) {
		const chunks = [];
		stream.on('data', (c) => chunks.push(c));
		stream.on('end', () => {
			const { mailFrom, rcptTo } = session.envelope;
			if (rcptTo[0].address.startsWith('content')) {
				return done(refuse(554, '5.7.1 not wanted'));
			}
			console.log(JSON.stringify({
				from: mailFrom.address,
				to: rcptTo.map((r) => r.address),
				options: Object.keys(mailFrom.args || {}),
				tls: session.secure,
				user: session.user || '',
				content: Buffer.concat(chunks).toString('base64'),
			}));
			done(null, '2.0.0 taken');
		});
	},
});
server.listen(job.port, '127.0.0.1');
process.stdin.resume().on('end', () => process.exit());
