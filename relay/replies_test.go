package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

// secret stands in the text of every internal error of these tests; none of it
// may reach a client.
const secret = "pg://root:hunter2@10.0.0.7/mail"

var errSecret = errors.New(secret)

const (
	// app@example.test, secret
	login    = "C: AUTH PLAIN AGFwcEBleGFtcGxlLnRlc3QAc2VjcmV0\nS: 235 2.7.0\n"
	badLogin = "C: AUTH PLAIN AGFwcEBleGFtcGxlLnRlc3QAd3Jvbmc=\n"
	envelope = "C: MAIL FROM:<app@example.test>\nS: 250 2.1.0\nC: RCPT TO:<x@elsewhere.test>\nS: " +
		"250 2.1.5\n"
	message = "C: DATA\nS: 354\nC: From: app@example.test\nC: \nC: body\nC: .\n"
)

// TestReplies holds every refusal to its reply, and to one event with the same
// reply and its stage.
func TestReplies(t *testing.T) {
	for _, tt := range append(sessionReplies(), contentReplies()...) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := new(logs)
			var c *talk
			w := start(t, func(cfg *relay.Config) {
				cfg.TLS = certificate(t)
				cfg.Logger = log.logger()
				for _, c := range cfg.Connectors {
					c.Limits.MaxProtocolErrors = -1
				}
				if tt.change != nil {
					tt.change(cfg)
				}
			})
			if tt.stages == "connect" {
				c = w.connect(t, tt.connector)
			} else {
				c = w.dial(t, tt.connector)
			}
			c.Play(tt.script)
			rejected := w.events.all(event.Rejected)
			var got, stages []string
			for _, e := range rejected {
				got = append(got, fmt.Sprintf("%d %s %s", e.Code, e.Enhanced, e.Text))
				stages = append(stages, string(e.Stage))
			}
			want := slices.DeleteFunc(c.refusals, func(r string) bool {
				return strings.Contains(r, "Too many failed logons")
			})
			if !slices.Equal(got, want) || strings.Join(stages, " ") != tt.stages {
				t.Errorf("events at %q: %q\nwant at %q: %q", stages, got, tt.stages, want)
			}
			for _, e := range rejected {
				if e.Connector != tt.connector || !e.Remote.IsValid() || e.Time.IsZero() ||
					e.QueueID != "" {
					t.Errorf("event %+v", e)
				}
			}
			for _, r := range c.refusals {
				if strings.Contains(r, "hunter2") {
					t.Errorf("an internal error on the wire: %q", r)
				}
			}
			stats, err := w.relay.Stats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n := len(w.events.all(event.Accepted)); int64(n) < stats.Messages {
				t.Errorf("%d messages queued, %d accepted", stats.Messages, n)
			}
		})
	}
}

// TestCauses looks for the cause of a refusal in the log, under the id of the
// session that the application sees.
func TestCauses(t *testing.T) {
	log := new(logs)
	var id string
	w := start(t, func(cfg *relay.Config) {
		cfg.Logger = log.logger()
		cfg.Policy.Mail = func(_ context.Context, s *relay.Session, _ domains.Address) error {
			id = s.ID
			return errSecret
		}
	})
	c := w.dial(t, "apps")
	c.Play("C: MAIL FROM:<app@example.test>\nS: 451 4.3.0")
	if !strings.Contains(log.String(), secret) || !strings.Contains(log.String(), "session="+id) {
		t.Errorf("log %s", log)
	}
}

// TestPasswordsAreNotLogged logs on with the log at its most talkative.
func TestPasswordsAreNotLogged(t *testing.T) {
	log := new(logs)
	w := start(t, func(cfg *relay.Config) {
		cfg.Logger = log.logger()
		verify := cfg.Verifier
		cfg.Verifier = auth.VerifierFunc(func(
			ctx context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			id, err := verify.Verify(ctx, c)
			if err != nil {
				return nil, fmt.Errorf("%w: %v", err, c)
			}
			return id, nil
		})
	})
	c := w.dial(t, "users")
	c.Play(badLogin + "S: 535\n" + login + envelope + message + "S: 250")
	w.out.wait(t, 1)
	for _, word := range []string{"wrong", "AGFwcEBleGFt", "pass"} {
		if strings.Contains(log.String(), word) {
			t.Errorf("%q in the log %s", word, log)
		}
	}
}

func TestConnectionLimit(t *testing.T) {
	w := start(t, func(cfg *relay.Config) { cfg.Connectors[0].Limits.MaxConnectionsPerSource = 1 })
	w.dial(t, "apps")
	c := w.connect(t, "apps")
	c.Expect("421 4.3.2 ")
	c.ExpectClose()
	got := w.events.all(event.Rejected)
	if len(got) != 1 || got[0].Stage != "connect" || got[0].Code != 421 ||
		got[0].Enhanced != "4.3.2" {
		t.Errorf("events %s", show(got))
	}
}

// TestRateOfUsers counts messages by user: another user of the same host has a
// count of its own.
func TestRateOfUsers(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		users := cfg.Connectors[2]
		users.Limits.MessageRate, users.Limits.MessageRateBy = 1, connector.RateByUser
		cfg.Verifier = auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			return &auth.Identity{User: c.Username}, nil
		})
	})
	inOneMinute()
	if err := send(
		w.addr("users"), plain{"app@example.test", "x"}, "app@example.test", "x@elsewhere.test",
	); err != nil {
		t.Fatal(err)
	}
	if err := send(
		w.addr("users"), plain{"app@example.test", "x"}, "app@example.test", "x@elsewhere.test",
	); code(err) != 421 {
		t.Errorf("second message: %v", err)
	}
	c := w.dial(t, "users")
	c.Play(
		"C: AUTH PLAIN AGJvYkBleGFtcGxlLnRlc3QAeA==\nS: 235\nC: MAIL FROM:<bob@example.test>\n" +
			"S: 250",
	)
}
