package relay_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

// TestQuota checks the caps of a credential, and that each refusal is an event
// with its reason.
func TestQuota(t *testing.T) {
	keys := auth.NewKeyring(&auth.MemoryCredentials{}, nil)
	token, c, err := keys.Issue(
		t.Context(),
		auth.Credential{
			Owner: "shop@example.test", Senders: []string{"shop@example.test"}, PerDay: 1,
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(cfg *relay.Config) { cfg.Verifier, cfg.Quota = keys, keys })
	try := func() error {
		return smtp.SendMail(w.addr("users"), plain{
			"shop@example.test", token,
		}, "shop@example.test", []string{"x@elsewhere.test"},
			[]byte("From: shop@example.test\r\n\r\nhi\r\n"))
	}
	if err := try(); err != nil {
		t.Fatal(err)
	}
	if err := try(); code(err) != 450 || !strings.Contains(err.Error(), "4.7.1") {
		t.Errorf("over the cap: %v", err)
	}
	e := w.events.wait(t, kind(event.Rejected))
	if e.Stage != "data" || e.User != "shop@example.test" || !strings.Contains(e.Reason, c.ID) {
		t.Errorf("event %+v", e)
	}
	id := &auth.Identity{
		User: "shop@example.test", Credential: c.ID, Senders: []string{"shop@example.test"},
	}
	if err := keys.Update(t.Context(), c.ID, func(c *auth.Credential) error {
		c.Held, c.PerDay = true, 0
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	_, err = w.relay.Submit(t.Context(), &relay.Message{
		From: "shop@example.test", To: []string{"x@elsewhere.test"}, Identity: id,
		Content: strings.NewReader("From: shop@example.test\n\nhi\n"),
	})
	if err == nil || !strings.Contains(err.Error(), "550 5.7.1") {
		t.Errorf("held: %v", err)
	}
	if got := w.out.wait(t, 1); len(got) != 1 {
		t.Errorf("%d messages went out", len(got))
	}
}

// TestNoQuota: the caps of a credential are not left unkept in silence.
func TestNoQuota(t *testing.T) {
	var logged logs
	keys := auth.NewKeyring(&auth.MemoryCredentials{}, nil)
	token, c, err := keys.Issue(t.Context(), auth.Credential{Owner: "app@example.test", PerDay: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(cfg *relay.Config) {
		people := cfg.Verifier
		cfg.Verifier = auth.VerifierFunc(func(
			ctx context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if id, err := people.Verify(ctx, c); err == nil {
				return id, nil
			}
			return keys.Verify(ctx, c)
		})
		cfg.Logger = logged.logger()
	})
	err = send(
		w.addr("users"), plain{"app@example.test", token}, "app@example.test", "x@elsewhere.test",
	)
	if code(err) != 451 || !strings.Contains(err.Error(), "4.3.0") ||
		strings.Contains(err.Error(), "uota") {
		t.Errorf("by SMTP: %v", err)
	}
	cause := "Config.Quota is nil, so the caps of credential " + c.ID + " cannot be kept"
	if e := w.events.wait(t, kind(event.Rejected)); !strings.Contains(e.Reason, cause) ||
		!strings.Contains(logged.String(), cause) {
		t.Errorf("event %+v, log %s", e, logged.String())
	}
	_, err = w.relay.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@elsewhere.test"},
		Content: strings.NewReader(text),
		Identity: &auth.Identity{
			User: "app@example.test", Credential: c.ID, Senders: []string{"app@example.test"},
		},
	})
	if replied(err) != "451 4.3.0" || !strings.Contains(fmt.Sprint(errors.Unwrap(err)), cause) {
		t.Errorf("by Submit: %v", err)
	}
	if err := send(
		w.addr("users"), plain{"app@example.test", "secret"}, "app@example.test",
		"x@elsewhere.test",
	); err != nil {
		t.Errorf("a person: %v", err)
	}
	if got := w.out.wait(t, 1); len(got) != 1 {
		t.Errorf("%d messages went out", len(got))
	}
}

// TestRefusalsOfCredentials: each refusal of a credential is an error of its
// type, an event of the relay, and a call of OnRefusal: at the logon, and
// before a message of a session that has logged on already.
func TestRefusalsOfCredentials(t *testing.T) {
	t.Parallel()
	const owner = "app@example.test"
	elsewhere := func(c *auth.Credential) error {
		c.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		return nil
	}
	hold := func(c *auth.Credential) error { c.Held = true; return nil }
	expire := func(c *auth.Credential) error { c.Expires = time.Now(); return nil }
	for _, tt := range []struct {
		want   auth.Refusal
		user   string
		change func(*auth.Credential) error // nil to rotate
		// the reply after the change; empty where that is none of the logon
		logon   string
		message string // the same of a running session
	}{
		{auth.WrongSecret, owner, nil, "535 5.7.8 ", "421 4.7.0 "},
		{auth.WrongOwner, "other@example.test", func(*auth.Credential) error {
			return nil
		}, "535 5.7.8 ", ""},
		{auth.SecretExpired, owner, nil, "535 5.7.8 ", "421 4.7.0 "},
		{auth.Expired, owner, expire, "535 5.7.8 ", "550 5.7.1 "},
		{auth.Held, owner, hold, "535 5.7.8 ", "550 5.7.1 "},
		{auth.SourceRefused, owner, elsewhere, "535 5.7.8 ", "421 4.7.0 "},
		{auth.RightsReduced, owner, func(c *auth.Credential) error {
			c.Senders = []string{"b@example.test"}
			return nil
		}, "", "421 4.7.0 "},
		{auth.RateReached, owner, func(c *auth.Credential) error {
			c.PerMinute = 1
			return nil
		}, "", "450 4.7.1 "},
		{auth.DayReached, owner, func(c *auth.Credential) error {
			c.PerDay = 1
			return nil
		}, "", "450 4.7.1 "},
	} {
		t.Run(string(tt.want), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var told []auth.CredentialError
			keys := auth.NewKeyring(&auth.MemoryCredentials{},
				&auth.KeyringOptions{OnRefusal: func(e *auth.CredentialError) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, *e)
				}})
			token, c, err := keys.Issue(t.Context(), auth.Credential{Owner: owner, Label: "till"})
			if err != nil {
				t.Fatal(err)
			}
			w := start(t, func(cfg *relay.Config) { cfg.Verifier, cfg.Quota = keys, keys })
			logOn := func(want string) *talk {
				conn := w.dial(t, "users")
				conn.Say(
					"AUTH PLAIN " + base64.StdEncoding.EncodeToString(
						[]byte("\x00"+tt.user+"\x00"+token),
					),
				)
				conn.Expect(want)
				return conn
			}
			var session *talk
			if tt.message != "" {
				session = logOn("235 ")
			}
			if tt.change != nil {
				err = keys.Update(t.Context(), c.ID, tt.change)
			} else {
				for range map[auth.Refusal]int{
					auth.SecretExpired: 1, auth.WrongSecret: 2,
				}[tt.want] {
					_, e := keys.Rotate(t.Context(), c.ID, 0)
					err = errors.Join(err, e)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			refusals := 0
			check := func(stage string) {
				t.Helper()
				refusals++
				e := w.events.wait(t, func(e event.Event) bool {
					return e.Kind == event.Rejected && string(e.Stage) == stage
				})
				if len(w.events.all(event.Rejected)) != refusals || e.Connector != "users" ||
					e.User != tt.user || !strings.Contains(e.Reason, c.ID) ||
					!strings.Contains(e.Reason, string(tt.want)) {
					t.Errorf("event %+v", e)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(told) != refusals ||
					told[refusals-1] != (auth.CredentialError{
						ID: c.ID, Owner: owner, Label: "till", Refusal: tt.want,
					}) {
					t.Errorf("told %+v", told)
				}
			}
			if tt.message != "" {
				if strings.HasPrefix(tt.message, "450") {
					if got := session.transact(
						text, owner, "x@elsewhere.test",
					); !strings.HasPrefix(got, "250 ") {
						t.Fatal(got)
					}
				}
				if got := session.transact(
					text, owner, "x@elsewhere.test",
				); !strings.HasPrefix(got, tt.message) {
					t.Errorf("message: %s, want %s", got, tt.message)
				}
				check("data")
				if strings.HasPrefix(tt.message, "421") {
					session.ExpectClose()
				}
			}
			if tt.logon != "" {
				logOn(tt.logon)
				check("auth")
			}
		})
	}
}

// TestQuotaOfOwnLogon: the application lets in clients by a verifier of its own
// and names their credential. They are not told to log on again when that would
// change nothing.
func TestQuotaOfOwnLogon(t *testing.T) {
	t.Parallel()
	const owner = "app@example.test"
	for _, tt := range []struct {
		name   string
		change func(k *auth.Keyring, s auth.CredentialStore, id string) error
		want   string
	}{
		{"expired", func(k *auth.Keyring, _ auth.CredentialStore, id string) error {
			return k.Update(t.Context(), id, func(c *auth.Credential) error {
				c.Expires = time.Now()
				return nil
			})
		}, "550 5.7.1 "},
		{"held", func(k *auth.Keyring, _ auth.CredentialStore, id string) error {
			return k.Update(t.Context(), id, func(c *auth.Credential) error {
				c.Held = true
				return nil
			})
		}, "550 5.7.1 "},
		{"deleted", func(_ *auth.Keyring, s auth.CredentialStore, id string) error {
			return s.DeleteCredential(t.Context(), id)
		}, "550 5.7.1 "},
		{"rotated, another source and fewer rights", func(
			k *auth.Keyring, _ auth.CredentialStore, id string,
		) error {
			_, err := k.Rotate(t.Context(), id, 0)
			return errors.Join(err, k.Update(t.Context(), id, func(c *auth.Credential) error {
				c.Sources, c.Senders = []netip.Prefix{
					netip.MustParsePrefix("192.0.2.0/24"),
				}, []string{"b@example.test"}
				return nil
			}))
		}, "250 "},
	} {
		store := new(auth.MemoryCredentials)
		keys := auth.NewKeyring(store, nil)
		_, c, err := keys.Issue(t.Context(), auth.Credential{Owner: owner})
		if err != nil {
			t.Fatal(err)
		}
		w := start(t, func(cfg *relay.Config) {
			cfg.Verifier = auth.VerifierFunc(func(
				context.Context, auth.Proof,
			) (*auth.Identity, error) {
				return &auth.Identity{User: owner, Credential: c.ID, Senders: []string{owner}}, nil
			})
			cfg.Quota = keys
		})
		if err := tt.change(keys, store, c.ID); err != nil {
			t.Fatal(err)
		}
		for range 2 { // as the client that logs on again
			conn := w.dial(t, "users")
			conn.Say("AUTH PLAIN AHgAeA==")
			conn.Expect("235 ")
			if got := conn.transact(
				text, owner, "x@elsewhere.test",
			); !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
		}
	}
}
