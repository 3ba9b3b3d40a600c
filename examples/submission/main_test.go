package main

import (
	"net/smtp"
	"path/filepath"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestSubmission(t *testing.T) {
	sink := mailtest.NewSink(t)
	dir := t.TempDir()
	o := options{listen: "127.0.0.1:0", smartHost: sink.Addr, users: filepath.Join(dir, "users.htpasswd")}
	var err error
	cert, key, client := mailtest.Certificate(t, dir)
	o.certificate, o.key = cert, key
	mailtest.Htpasswd(t, o.users, "app@example.com", "secret")
	r, err := newRelay(memspool.New(nil), o)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	dial := func() *smtp.Client {
		c, err := mailtest.Dial("127.0.0.1", r.Addrs("submission")[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}

	c := dial()
	if ok, _ := c.Extension("AUTH"); ok {
		t.Error("AUTH is offered without TLS")
	}
	if err := c.StartTLS(client); err != nil {
		t.Fatal(err)
	}
	if err := c.Auth(smtp.PlainAuth("", "app@example.com", "secret", "localhost")); err != nil {
		t.Fatal(err)
	}
	if err := mailtest.Send(c, "app@example.com", "somebody@example.net", "hello"); err != nil {
		t.Fatal(err)
	}
	if m := sink.Next(t); m.From != "app@example.com" {
		t.Errorf("arrived: %+v", m)
	}
	mailtest.WantReply(t, mailtest.Send(c, "boss@example.com", "somebody@example.net", "no"), "550 5.7.60")

	// What follows is refused after a delay of five seconds.
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		c := dial()
		if err := c.StartTLS(client); err != nil {
			t.Fatal(err)
		}
		mailtest.WantReply(t, c.Auth(smtp.PlainAuth("", "app@example.com", "wrong", "localhost")), "535 5.7.8")
	})
	t.Run("no password", func(t *testing.T) {
		t.Parallel()
		mailtest.WantReply(t, mailtest.Send(dial(), "app@example.com", "somebody@example.net", "no"), "530 5.7")
	})
}
