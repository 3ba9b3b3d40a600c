package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/smtp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
)

// TestQuota checks the caps of a credential, and that each refusal is an event with its reason.
func TestQuota(t *testing.T) {
	keys := auth.NewKeyring(&auth.MemoryCredentials{}, auth.KeyringOptions{})
	token, c, err := keys.Issue(t.Context(), auth.Credential{Owner: "shop@example.test", Senders: []string{"shop@example.test"}, PerDay: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(cfg *relay.Config) { cfg.Verifier, cfg.Quota = keys, keys })
	try := func() error {
		return smtp.SendMail(w.addr("users"), plain{"shop@example.test", token}, "shop@example.test", []string{"x@elsewhere.test"},
			[]byte("From: shop@example.test\r\n\r\nhi\r\n"))
	}
	if err := try(); err != nil {
		t.Fatal(err)
	}
	if err := try(); code(err) != 450 || !strings.Contains(err.Error(), "4.7.1") {
		t.Errorf("over the cap: %v", err)
	}
	e := w.events.wait(t, kind(relay.Rejected))
	if e.Stage != "data" || e.User != "shop@example.test" || !strings.Contains(e.Reason, c.ID) {
		t.Errorf("event %+v", e)
	}
	id := &auth.Identity{User: "shop@example.test", Credential: c.ID, Senders: []string{"shop@example.test"}}
	if err := keys.Update(t.Context(), c.ID, func(c *auth.Credential) error { c.Held, c.PerDay = true, 0; return nil }); err != nil {
		t.Fatal(err)
	}
	_, err = w.relay.Submit(t.Context(), &relay.Message{
		From: "shop@example.test", To: []string{"x@elsewhere.test"}, Identity: id, Content: strings.NewReader("From: shop@example.test\n\nhi\n"),
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
	keys := auth.NewKeyring(&auth.MemoryCredentials{}, auth.KeyringOptions{})
	token, c, err := keys.Issue(t.Context(), auth.Credential{Owner: "app@example.test", PerDay: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(cfg *relay.Config) {
		people := cfg.Verifier
		cfg.Verifier = auth.VerifierFunc(func(ctx context.Context, c auth.Credentials) (*auth.Identity, error) {
			if id, err := people.Verify(ctx, c); err == nil {
				return id, nil
			}
			return keys.Verify(ctx, c)
		})
		cfg.Logger = logged.logger()
	})
	err = send(w.addr("users"), plain{"app@example.test", token}, "app@example.test", "x@elsewhere.test")
	if code(err) != 451 || !strings.Contains(err.Error(), "4.3.0") || strings.Contains(err.Error(), "uota") {
		t.Errorf("by SMTP: %v", err)
	}
	cause := "Config.Quota is nil, so the caps of credential " + c.ID + " cannot be kept"
	if e := w.events.wait(t, kind(relay.Rejected)); !strings.Contains(e.Reason, cause) || !strings.Contains(logged.String(), cause) {
		t.Errorf("event %+v, log %s", e, logged.String())
	}
	_, err = w.relay.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@elsewhere.test"}, Content: strings.NewReader(text),
		Identity: &auth.Identity{User: "app@example.test", Credential: c.ID, Senders: []string{"app@example.test"}},
	})
	if replied(err) != "451 4.3.0" || !strings.Contains(fmt.Sprint(errors.Unwrap(err)), cause) {
		t.Errorf("by Submit: %v", err)
	}
	if err := send(w.addr("users"), plain{"app@example.test", "secret"}, "app@example.test", "x@elsewhere.test"); err != nil {
		t.Errorf("a person: %v", err)
	}
	if got := w.out.wait(t, 1); len(got) != 1 {
		t.Errorf("%d messages went out", len(got))
	}
}
