package main

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/postern-mail/postern/examples/internal/smtpload"
)

const streamHeader = "X-Stream"

// send sends a number of messages of c to a server.
func (b *bench) send(ctx context.Context, c comparison, relay string, messages int) error {
	c.Messages = messages
	if !c.own {
		return c.Load.Send(ctx, relay)
	}
	s := smtpload.Source{Load: c.Load, Recipients: c.mail.to}
	if c.streams > 0 {
		s.Field = func(i int) string { return fmt.Sprintf("%s: s%d", streamHeader, i%c.streams) }
	}
	if c.tls {
		// A stranger's certificate: what is measured is the work. The gateway
		// knows X25519MLKEM768 too, which Postfix's OpenSSL does not.
		s.TLS = &tls.Config{
			InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519},
		}
	}
	return s.Send(ctx, relay)
}

// to are the recipients of a message.
func (m mail) to(i int) []string {
	domain := "example.net"
	if m.domains > 0 {
		domain = domainOf(i % m.domains)
	}
	all := make([]string, max(1, m.recipients))
	for j := range all {
		all[j] = fmt.Sprintf("r%d@%s", j, domain)
	}
	return all
}
