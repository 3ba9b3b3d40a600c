package relay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
)

// replyCase is a dialogue that ends in a refusal, or in none.
type replyCase struct {
	name      string
	connector string
	change    func(*relay.Config)
	script    string
	stages    string // of the refusals, in order
}

// connectorOf returns the connector of that name.
func connectorOf(c *relay.Config, name string) *connector.Connector {
	i := slices.IndexFunc(c.Connectors, func(c *connector.Connector) bool {
		return c.Name == name
	})
	return c.Connectors[i]
}

func broken(store hooked) func(*relay.Config) {
	return func(c *relay.Config) {
		store.Store = c.Spool
		c.Spool = &store
	}
}

func commitFails(err error) func(*relay.Config) {
	return broken(hooked{commit: func(context.Context, spool.Commit) error { return err }})
}

// sessionReplies are those up to the content.
func sessionReplies() []replyCase {
	return []replyCase{
		{
			name: "accepted", connector: "apps",
			script: envelope + message + "S: 250 2.0.0 Ok: queued as ",
		},
		{
			name: "null sender", connector: "in",
			script: "C: MAIL FROM:<>\nS: 250 2.1.0\nC: RCPT TO:<alice@example.test>\nS: 250 " +
				"2.1.5\n" + message + "S: 250 2.0.0",
		},
		{
			name: "MAIL of an anonymous client without Submit", connector: "users",
			script: "C: MAIL FROM:<app@example.test>\nS: 530 5.7.1 Client was not authenticated",
			stages: "mail",
		},
		{
			name: "TLS required", connector: "apps",
			change: func(c *relay.Config) { connectorOf(c, "apps").RequireTLS = true },
			script: "C: MAIL FROM:<app@example.test>\nS: 530 5.7.0 Must issue a STARTTLS command " +
				"first\n" + startTLS +
				envelope + message + "S: 250 2.0.0",
			stages: "mail",
		},
		{
			name: "AUTH before TLS", connector: "users",
			change: func(c *relay.Config) {
				connectorOf(c, "users").AuthMechanisms = connector.TLS |
					connector.BasicAuth | connector.BasicAuthRequireTLS
			},
			script: badLogin + "S: 538 5.7.11\n" + startTLS + login + envelope + message +
				"S: 250 2.0.0",
			stages: "auth",
		},
		{
			name: "bad credentials until the limit", connector: "users",
			change: func(c *relay.Config) { connectorOf(c, "users").Limits.MaxLogonFailures = 2 },
			script: badLogin + "S: 535 5.7.8 Authentication unsuccessful\n" + badLogin +
				"S: 535 5.7.8\nS: 421 4.7.0\nclose",
			stages: "auth auth",
		},
		{
			name: "verifier unavailable", connector: "users",
			change: func(c *relay.Config) {
				c.Verifier = auth.VerifierFunc(
					func(context.Context, auth.Proof) (*auth.Identity, error) {
						return nil, errSecret
					},
				)
			},
			script: badLogin + "S: 454 4.7.0", stages: "auth",
		},
		{
			name: "log-on without the right to submit", connector: "users",
			change: func(c *relay.Config) {
				connectorOf(c, "users").Grants = []connector.Grant{
					{
						Principal: connector.User("app@example.test"), Rights: connector.Submit,
						Deny: true,
					},
				}
			},
			script: "C: AUTH PLAIN AGFwcEBleGFtcGxlLnRlc3QAc2VjcmV0\nS: 535 5.7.8", stages: "auth",
		},
		{
			name: "foreign sender of a user", connector: "users",
			script: login +
				"C: MAIL FROM:<ceo@example.test>\nS: 550 5.7.60 Client does not have " +
				"permissions to send as this sender",
			stages: "mail",
		},
		{
			name: "foreign From field of a user", connector: "users",
			script: login + envelope +
				"C: DATA\nS: 354\nC: From: ceo@example.test\nC: \nC: .\nS: 550 5.7.60",
			stages: "data",
		},
		{
			name: "foreign Sender field of a user", connector: "users",
			script: login + envelope +
				"C: DATA\nS: 354\nC: From: app@example.test\nC: Sender: ceo@example.test\nC: \n" +
				"C: .\nS: 550 5.7.60", stages: "data",
		},
		{
			name: "two From fields of a user", connector: "users",
			script: login + envelope +
				"C: DATA\nS: 354\nC: From: app@example.test\nC: From: ceo@example.test\nC: \n" +
				"C: .\nS: 550 5.6.0", stages: "data",
		},
		{
			name: "own sender of an anonymous client without the right", connector: "in",
			change: func(c *relay.Config) {
				connectorOf(c, "in").Grants = []connector.Grant{
					{
						Principal: connector.Anonymous,
						Rights:    connector.AcceptAuthoritativeDomainSender, Deny: true,
					},
				}
			},
			script: "C: MAIL FROM:<alice@example.test>\nS: 550 5.7.1 Anonymous client does not " +
				"have permissions to send as this sender\n" +
				"C: MAIL FROM:<x@elsewhere.test>\nS: 250 2.1.0",
			stages: "mail",
		},
		{
			name: "relaying", connector: "in",
			script: "C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT TO:<y@elsewhere.test>\nS: " +
				"550 5.7.54 Unable to relay recipient in non-accepted domain",
			stages: "rcpt",
		},
		{
			name: "unknown recipient", connector: "in",
			script: "C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT " +
				"TO:<nobody@example.test>\nS: 550 5.1.1 User unknown\n" +
				"C: RCPT TO:<nobody@internal.test>\nS: 250\nC: RCPT TO:<nobody@external.test>\n" +
				"S: 250",
			stages: "rcpt",
		},
		{
			name: "lookup failed", connector: "in",
			change: func(c *relay.Config) {
				c.AcceptedDomains[0].Recipients = domains.ResolverFunc(
					func(context.Context, domains.Address) (bool, error) {
						return false, errSecret
					},
				)
			},
			script: "C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT " +
				"TO:<alice@example.test>\nS: 451 4.3.0 Recipient lookup failed, try again later",
			stages: "rcpt",
		},
		{
			name: "too many recipients", connector: "apps",
			change: func(c *relay.Config) { connectorOf(c, "apps").Limits.MaxRecipients = 1 },
			script: envelope + "C: RCPT TO:<y@elsewhere.test>\nS: 452 4.5.3 Too many recipients\n" +
				message + "S: 250 2.0.0", stages: "rcpt",
		},
		{
			name: "declared too large", connector: "apps",
			change: func(c *relay.Config) { connectorOf(c, "apps").Limits.MaxMessageBytes = 65536 },
			script: "C: MAIL FROM:<app@example.test> SIZE=65537\nS: 552 5.3.4 Message size " +
				"exceeds fixed maximum message size", stages: "mail",
		},
		{
			name: "counted too large", connector: "apps",
			change: func(c *relay.Config) { connectorOf(c, "apps").Limits.MaxMessageBytes = 65536 },
			script: envelope + "C: DATA\nS: 354\nC: Subject: large\nC: \n" + strings.Repeat(
				"C: "+strings.Repeat("x", 900)+"\n", 80,
			) + "C: .\nS: 552 5.3.4",
			stages: "data",
		},
		{
			name: "header too large", connector: "apps",
			change: func(c *relay.Config) { connectorOf(c, "apps").Limits.MaxHeaderBytes = 100 },
			script: envelope + "C: DATA\nS: 354\nC: Subject: " + strings.Repeat(
				"x", 200,
			) + "\nC: \nC: .\nS: 552 5.3.4 Message header size exceeds fixed maximum size",
			stages: "data",
		},
		{
			name: "message rate", connector: "apps",
			change: func(c *relay.Config) {
				connectorOf(c, "apps").Limits.MessageRate = 1
				inOneMinute()
			},
			script: envelope + message + "S: 250 2.0.0\nC: MAIL FROM:<app@example.test>\n" +
				"S: 421 4.4.2 Message submission rate for this client has exceeded the " +
				"configured limit\nclose",
			stages: "mail",
		},
	}
}

// contentReplies are those to the content, and of the application.
func contentReplies() []replyCase {
	return []replyCase{
		{
			name: "no room to begin", connector: "apps",
			change: broken(hooked{create: func(spool.ID) error {
				return fmt.Errorf("%w: %w", spool.ErrFull, errSecret)
			}}),
			script: envelope + message + "S: 452 4.3.1 Insufficient system resources",
			stages: "data",
		},
		{
			name: "no room to commit", connector: "apps",
			change: commitFails(fmt.Errorf("%w: %w", spool.ErrFull, errSecret)),
			script: envelope + message + "S: 452 4.3.1 Insufficient system resources",
			stages: "data",
		},
		{
			name: "store failed", connector: "apps",
			change: commitFails(fmt.Errorf("%w: %w", spool.ErrFailed, errSecret)),
			script: envelope + message + "S: 451 4.3.0", stages: "data",
		},
		{
			name: "store broken", connector: "apps", change: commitFails(errSecret),
			script: envelope + message + "S: 451 4.3.0", stages: "data",
		},
		{
			name: "store too slow", connector: "apps",
			change: commitFails(context.DeadlineExceeded),
			script: envelope + message + "S: 451 4.4.5", stages: "data",
		},
		{
			name: "hop count", connector: "apps",
			change: func(c *relay.Config) { connectorOf(c, "apps").Limits.MaxHops = 2 },
			script: envelope + "C: DATA\nS: 354\n" + strings.Repeat(
				"C: Received: by a.example.net; x\n", 2,
			) + "C: \nC: .\nS: 250 2.0.0\n" +
				envelope + "C: DATA\nS: 354\n" + strings.Repeat(
				"C: Received: by a.example.net; x\n", 3,
			) + "C: \nC: .\nS: 554 5.4.6 Hop count exceeded - possible mail loop",
			stages: "data",
		},
		{
			name: "local hop count", connector: "apps",
			change: func(c *relay.Config) { connectorOf(c, "apps").Limits.MaxLocalHops = 1 },
			script: envelope +
				"C: DATA\nS: 354\nC: Received: by relay.example.test; x\nC: Received: by " +
				"a.example.net; x\nC: \nC: .\nS: 250 2.0.0\n" +
				envelope +
				"C: DATA\nS: 354\nC: Received: from x by Relay.Example.Test; x\nC: Received: " +
				"by relay.example.test; x\nC: \nC: .\nS: 554 5.4.6",
			stages: "data",
		},
		{
			name: "bare LF", connector: "apps",
			script: envelope +
				"C: DATA\nS: 354\nC: Subject: x\nC: \nC> one\\ntwo\\r\\n\nC: .\nS: 550 5.6.11",
			stages: "data",
		},
		{
			name: "bare CR", connector: "apps",
			script: envelope +
				"C: DATA\nS: 354\nC: Subject: x\nC: \nC> one\\rtwo\\r\\n\nC: .\nS: 550 5.6.11",
			stages: "data",
		},
		{
			name: "NUL", connector: "apps",
			script: envelope +
				"C: DATA\nS: 354\nC: Subject: x\nC: \nC> one\\x00two\\r\\n\nC: .\nS: 550 5.6.11",
			stages: "data",
		},
		{
			name: "bare LF repaired", connector: "apps",
			change: func(c *relay.Config) { connectorOf(c, "apps").RepairLineEndings = true },
			script: envelope +
				"C: DATA\nS: 354\nC: Subject: x\nC: \nC> one\\ntwo\\r\\n\nC: .\nS: 250 2.0.0",
		},
		{
			name: "policy at connect", connector: "apps",
			change: func(c *relay.Config) {
				c.Policy.Connect = func(context.Context, *relay.Session) error {
					return relay.Reject(554, "5.7.1", "Not you")
				}
			},
			script: "S: 554 5.7.1 Not you\nclose", stages: "connect",
		},
		{
			name: "policy at helo", connector: "apps",
			change: func(c *relay.Config) {
				c.Policy.Helo = func(_ context.Context, s *relay.Session) error {
					if s.Helo == "bad" {
						return relay.Reject(550, "5.7.1", "Bad name")
					}
					return nil
				}
			},
			script: "C: EHLO bad\nS: 550 5.7.1 Bad name", stages: "helo",
		},
		{
			name: "policy at auth", connector: "users",
			change: func(c *relay.Config) {
				c.Policy.Auth = func(_ context.Context, s *relay.Session) error {
					return relay.Reject(535, "5.7.8", s.Identity.User+" is blocked")
				}
			},
			script: "C: AUTH PLAIN AGFwcEBleGFtcGxlLnRlc3QAc2VjcmV0\nS: 535 5.7.8 " +
				"app@example.test is blocked\nC: MAIL FROM:<app@example.test>\nS: 530 5.7.1",
			stages: "auth mail",
		},
		{
			name: "policy at mail", connector: "apps",
			change: func(c *relay.Config) {
				c.Policy.Mail = func(context.Context, *relay.Session, domains.Address) error {
					return errSecret
				}
			},
			script: "C: MAIL FROM:<app@example.test>\nS: 451 4.3.0", stages: "mail",
		},
		{
			name: "policy at rcpt", connector: "apps",
			change: func(c *relay.Config) {
				c.Policy.Rcpt = func(
					context.Context, *relay.Session, domains.Address, domains.Address,
				) error {
					return fmt.Errorf("%s: %w", secret, relay.Defer(450, "4.2.1", "Later"))
				}
			},
			script: "C: MAIL FROM:<app@example.test>\nS: 250\nC: RCPT TO:<x@elsewhere.test>\nS: " +
				"450 4.2.1 Later", stages: "rcpt",
		},
		{
			name: "policy at message", connector: "apps",
			change: func(c *relay.Config) {
				c.Policy.Message = func(context.Context, *relay.Session, *relay.Incoming) error {
					return relay.Defer(421, "4.7.0", "Away")
				}
			},
			script: envelope +
				"C: DATA\nS: 354\nC: Subject: x\nC: \nC: .\nS: 421 4.7.0 Away\nclose",
			stages: "data",
		},
		{
			name: "policy panics", connector: "apps",
			change: func(c *relay.Config) {
				c.Policy.Message = func(context.Context, *relay.Session, *relay.Incoming) error {
					panic(secret)
				}
			},
			script: envelope + "C: DATA\nS: 354\nC: Subject: x\nC: \nC: .\n" +
				"S: 451 4.3.0 Temporary server error, try again later",
			stages: "data",
		},
	}
}
