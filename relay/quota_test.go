package relay_test

import (
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
