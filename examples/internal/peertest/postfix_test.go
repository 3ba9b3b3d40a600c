package peertest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

type letter struct {
	from    string
	to      []string
	mail    smtp.MailOptions
	rcpt    smtp.RcptOptions
	content []byte
}

// post hands a letter to a server in the clear.
func post(t *testing.T, addr string, l letter) {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail(l.from, &l.mail); err != nil {
		t.Fatal(err)
	}
	for _, to := range l.to {
		if err := c.Rcpt(to, &l.rcpt); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(l.content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_ = c.Quit()
}

func TestPostfix(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	t.Run("to", func(t *testing.T) { testToPostfix(t, p) })
	t.Run("from", func(t *testing.T) { testFromPostfix(t, p) })
}

const sender = "sender@example.test"

func testToPostfix(t *testing.T, p *peers) {
	post := func(t *testing.T, l letter) {
		t.Helper()
		if l.from == "" {
			l.from = sender
		}
		post(t, "127.0.0.1:"+p.ports["relay"], l)
	}
	// report waits for the bounce of a recipient's copy and the report of it.
	report := func(t *testing.T, to, diagnostic string) told {
		t.Helper()
		e := p.gateway.next(t, "bounced "+to)
		m := p.next.next(t, sender)
		text := strings.Join(strings.Fields(string(m.content)), " ")
		if m.from != "" || !strings.Contains(text, "multipart/report") ||
			!strings.Contains(text, diagnostic) || !strings.Contains(text, to) {
			t.Errorf("report without %q from <%s>:\n%s", diagnostic, m.from, m.content)
		}
		return e
	}

	for name, how := range map[string]struct{ with, verbs string }{
		"chunking": {"ESMTPS", `starttls=1 mail=1 rcpt=1 bdat=\d`},
		"data":     {"ESMTPS", `starttls=1 mail=1 rcpt=1 data=1`},
		"clear":    {"ESMTP", `from \S+ ehlo=1 mail=1 rcpt=1 bdat=\d`},
	} {
		for _, size := range sizes {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				to := fmt.Sprintf("known.%d@%s.example.net", size, name)
				l := letter{to: []string{to}, content: message(sender, to, size)}
				post(t, l)
				e := p.gateway.next(t, "delivered "+to)
				if e.Code != 250 || !strings.Contains(e.Text, "queued as") ||
					!strings.HasSuffix(e.Host, p.smtpds[name][len("127.0.0.1"):]) {
					t.Errorf("delivered: %+v", e)
				}
				m := p.next.next(t, to)
				wantContent(t, m.content, append(l.content, '\r', '\n'))
				if !strings.Contains(
					string(m.content), "by postfix.example.test (Postfix) with "+how.with+" id",
				) {
					t.Errorf("not %s: %s", how.with, m.content[:min(1000, len(m.content))])
				}
				p.log.await(t, `postfix/`+name+`/smtpd.*disconnect.*`+how.verbs)
			})
		}
	}

	for _, name := range []string{"chunking", "data"} {
		t.Run("unknown recipient "+name, func(t *testing.T) {
			known, unknown, other := "known.a@"+name+".example.net", "nobody@"+name+
				".example.net", "known.b@"+name+".example.net"
			post(
				t,
				letter{to: []string{known, unknown, other}, content: message(sender, known, 1000)},
			)
			p.gateway.next(t, "delivered "+known)
			p.gateway.next(t, "delivered "+other)
			p.next.next(t, known)
			p.next.next(t, other)
			e := report(
				t, unknown,
				"Diagnostic-Code: smtp; 550 5.1.1 <"+unknown+
					">: Recipient address rejected: User unknown in relay recipient table",
			)
			if e.Code != 550 || e.Enhanced != "5.1.1" {
				t.Errorf("bounced: %+v", e)
			}
		})
	}

	for _, name := range []string{"small", "smallbdat", "smalldata"} {
		t.Run("too large "+name, func(t *testing.T) {
			to := "known.large@" + name + ".example.net"
			post(t, letter{to: []string{to}, content: message(sender, to, 1<<20)})
			if e := report(t, to, "Status: 5.3.4"); e.Enhanced != "5.3.4" {
				t.Errorf("bounced: %+v", e)
			}
			// What is below the limit passes.
			post(t, letter{to: []string{to}, content: message(sender, to, 50_000)})
			p.gateway.next(t, "delivered "+to)
			p.next.next(t, to)
		})
	}

	t.Run("greylist", func(t *testing.T) {
		to := "known@grey.example.net"
		post(t, letter{to: []string{to}, content: message(sender, to, 1000)})
		if e := p.gateway.next(t, "deferred "+to); e.Code != 451 || e.Enhanced != "4.7.1" ||
			!strings.Contains(e.Text, "Greylisted, come again") {
			t.Errorf("deferred: %+v", e)
		}
		p.gateway.next(t, "delivered "+to)
		p.next.next(t, to)
	})

	t.Run("SMTPUTF8", func(t *testing.T) {
		to := "known.größe@utf8.example.net"
		l := letter{
			from: "käse@example.org", to: []string{to}, mail: smtp.MailOptions{UTF8: true},
			content: message("käse@example.org", to, 1000),
		}
		post(t, l)
		p.gateway.next(t, "delivered "+to)
		if m := p.next.next(t, to); m.from != l.from || !m.mail.UTF8 {
			t.Errorf("arrived: from %s, %+v", m.from, m.mail)
		} else {
			wantContent(t, m.content, append(l.content, '\r', '\n'))
		}
	})
	t.Run("SMTPUTF8 not offered", func(t *testing.T) {
		to := "known.größe@ascii.example.net"
		post(
			t,
			letter{
				to: []string{to}, mail: smtp.MailOptions{UTF8: true},
				content: message(sender, "x@example.net", 1000),
			},
		)
		if e := report(t, to, "Status: 5.6.7"); e.Enhanced != "5.6.7" {
			t.Errorf("bounced: %+v", e)
		}
		// Clients ask for it wherever it is offered.
		to = "known@ascii.example.net"
		post(
			t,
			letter{
				to: []string{to}, mail: smtp.MailOptions{UTF8: true},
				content: message(sender, to, 1000),
			},
		)
		p.gateway.next(t, "delivered "+to)
		p.next.next(t, to)
	})

	dsn := letter{
		mail: smtp.MailOptions{EnvelopeID: "envelope+7=8", Return: smtp.DSNReturnHeaders},
		rcpt: smtp.RcptOptions{
			Notify:                []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure},
			OriginalRecipientType: smtp.DSNAddressTypeRFC822,
			OriginalRecipient:     "first+7@example.org",
		},
	}
	t.Run("DSN", func(t *testing.T) {
		l := dsn
		l.to = []string{"known.dsn@data.example.net"}
		l.content = message(sender, l.to[0], 1000)
		post(t, l)
		p.gateway.next(t, "delivered "+l.to[0])
		m := p.next.next(t, l.to[0])
		if m.mail.EnvelopeID != l.mail.EnvelopeID || m.mail.Return != l.mail.Return ||
			!slices.Equal(m.rcpt.Notify, l.rcpt.Notify) ||
			m.rcpt.OriginalRecipient != l.rcpt.OriginalRecipient {
			t.Errorf("arrived: %+v %+v", m.mail, m.rcpt)
		}
	})
	t.Run("DSN not offered", func(t *testing.T) {
		l := dsn
		l.to = []string{"known.dsn@nodsn.example.net"}
		l.content = message(sender, l.to[0], 1000)
		post(t, l)
		p.gateway.next(t, "delivered "+l.to[0])
		p.next.next(t, l.to[0])
	})

	for _, name := range []string{"plain", "login"} {
		t.Run("logon "+name, func(t *testing.T) {
			to := "known@" + name + ".example.net"
			post(t, letter{to: []string{to}, content: message(sender, to, 1000)})
			p.gateway.next(t, "delivered "+to)
			if m := p.next.next(t, to); !strings.Contains(
				string(m.content), "(Authenticated sender: "+user+")",
			) {
				t.Errorf("not as the user: %s", m.content)
			}
			p.log.await(
				t,
				`postfix/`+name+`/smtpd.*sasl_method=`+strings.ToUpper(
					name,
				)+`, sasl_username=`+user,
			)
		})
	}
	t.Run("logon refused", func(t *testing.T) {
		to := "known@wrong.example.net"
		post(t, letter{to: []string{to}, content: message(sender, to, 1000)})
		if e := p.gateway.next(t, "deferred "+to); e.Code != 535 {
			t.Errorf("deferred: %+v", e)
		}
	})
}

func testFromPostfix(t *testing.T, p *peers) {
	post := func(t *testing.T, l letter) {
		t.Helper()
		if l.from == "" {
			l.from = user
		}
		post(t, p.smtpds["clear"], l)
	}
	for _, name := range []string{"clear", "plain", "login", "implicit"} {
		for _, size := range sizes {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				to := fmt.Sprintf("x.%d@%s.test", size, name)
				l := letter{to: []string{to}, content: message(user, to, size)}
				post(t, l)
				e := p.gateway.next(t, "accepted "+to)
				logon := user
				if name == "clear" {
					logon = ""
				}
				if e.From != user || e.User != logon || e.Connector != senders[name].connector {
					t.Errorf("accepted: %+v", e)
				}
				wantContent(t, p.next.next(t, to).content, append(l.content, '\r', '\n'))
			})
		}
	}
	t.Run("wrong password", func(t *testing.T) {
		to := "x@wrong.test"
		post(t, letter{to: []string{to}, content: message(user, to, 1)})
		p.log.await(
			t,
			`postfix/to-wrong/smtp.*to=<`+to+
				`>.*dsn=4.7.8, status=deferred \(SASL authentication failed.*said: 535 5.7.8`,
		)
	})
	t.Run("sender of another", func(t *testing.T) {
		to := "y@plain.test"
		post(t, letter{from: "z@clear.test", to: []string{to}, content: message(sender, to, 1)})
		p.log.await(
			t, `postfix/to-plain/smtp.*to=<`+to+`>.*dsn=5.7.60, status=bounced .*said: 550 5.7.60`,
		)
		p.next.next(t, "z@clear.test")
	})
	// What the gateway refuses comes back from Postfix, through the gateway.
	t.Run("unknown recipient", func(t *testing.T) {
		from, known, unknown := "back@clear.test", "sender@example.test", "nobody@example.test"
		post(
			t,
			letter{from: from, to: []string{unknown, known}, content: message(from, unknown, 1000)},
		)
		p.gateway.next(t, "accepted "+known)
		p.next.next(t, known)
		if m := p.next.next(t, from); m.from != "" ||
			!strings.Contains(string(m.content), "550 5.1.1") {
			t.Errorf("report from <%s>: %s", m.from, m.content)
		}
	})
	t.Run("reused connection", func(t *testing.T) {
		const messages = 10
		seen := map[string]bool{}
		for i := range messages {
			to := fmt.Sprintf("reused.%d@clear.test", i)
			post(t, letter{to: []string{to}, content: message(user, to, 10_000)})
			seen[p.gateway.next(t, "accepted "+to).Remote] = true
			p.next.next(t, to)
		}
		if len(seen) == messages {
			t.Errorf("%d connections for %d messages", len(seen), messages)
		}
	})
	t.Run("SMTPUTF8", func(t *testing.T) {
		to := "größe@clear.test"
		l := letter{
			from: "käse@example.org", to: []string{to}, mail: smtp.MailOptions{UTF8: true},
			content: message("käse@example.org", to, 1000),
		}
		post(t, l)
		m := p.next.next(t, to)
		if m.from != l.from || !m.mail.UTF8 {
			t.Errorf("arrived: from %s, %+v", m.from, m.mail)
		}
		wantContent(t, m.content, append(l.content, '\r', '\n'))
	})
}
