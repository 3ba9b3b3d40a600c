package main

import (
	"fmt"
	"io"
)

// line is something to paste into a shell.
type line struct {
	what    string
	command string
	refused string // what the server says when it refuses
}

// lines shows what the relay takes and what it refuses.
func (a *app) lines(web string) []line {
	anonymous, submission := a.relay.Addrs("apps")[0], a.relay.Addrs("submission")[0]
	return []line{{
		what: "Send through the form, as the application itself",
		command: fmt.Sprintf("curl --fail-with-body -d to=alice@%s -d subject=Form -d text=Hello "+
			"http://%s/",
			domain, web),
	}, {
		what: "This host may relay to anybody without a password",
		command: fmt.Sprintf("swaks --server %s --from app@%s --to somebody@example.net --header "+
			"'Subject: Relayed'",
			anonymous, domain),
	}, {
		what: "A user logs on inside TLS and sends to anybody",
		command: fmt.Sprintf("swaks --server %s --tls --auth PLAIN --auth-user %s "+
			"--auth-password %s --from %s --to somebody@example.net --header 'Subject: Submitted'",
			submission, demoUser, a.password, demoUser),
	}, {
		what: "The same with curl, which checks the certificate",
		command: fmt.Sprintf(`printf 'From: %s\r\nSubject: Curled\r\n\r\nHello\r\n' | curl `+
			`--ssl-reqd --cacert %s -u %s:%s --mail-from %s --mail-rcpt bob@%s -T - smtp://%s`,
			demoUser, a.certificate, demoUser, a.password, demoUser, domain, submission),
	}, {
		what: "Refused: nobody of that name in " + domain,
		command: fmt.Sprintf(
			"swaks --server %s --from app@%s --to nobody@%s", anonymous, domain, domain,
		),
		refused: "550 5.1.1",
	}, {
		what: "Refused: without a password here",
		command: fmt.Sprintf(
			"swaks --server %s --from app@%s --to somebody@example.net", submission, domain,
		),
		refused: "530 5.7",
	}, {
		what: "Refused: a user sends as somebody else",
		command: fmt.Sprintf("swaks --server %s --tls --auth PLAIN --auth-user %s "+
			"--auth-password %s --from boss@%s --to somebody@example.net",
			submission, demoUser, a.password, domain),
		refused: "550 5.7.60",
	}}
}

func (a *app) printLines(w io.Writer, web string) {
	fmt.Fprintf(
		w, "Open http://%s/ in a browser. Ctrl-C stops.\n\nLines to paste into another shell:\n",
		web,
	)
	for _, l := range a.lines(web) {
		fmt.Fprintf(w, "\n# %s\n%s\n", l.what, l.command)
	}
}
