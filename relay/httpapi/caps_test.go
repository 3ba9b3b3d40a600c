package httpapi_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

// TestKeyOwners: an Idempotency-Key belongs to a user with a credential, which
// keeps it when its token is renewed; who has neither is known by the address.
func TestKeyOwners(t *testing.T) {
	t.Parallel()
	ring := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	issue := func(owner, sender string) (token, id string) {
		token, c, err := ring.Issue(
			t.Context(), auth.Credential{Owner: owner, Senders: []string{sender}},
		)
		if err != nil {
			t.Fatal(err)
		}
		return token, c.ID
	}
	w := newWorld(t, func(w *world) {
		durable(w)
		withTokens(w)
		other := w.cfg.Auth.Tokens
		w.cfg.Auth.Tokens = auth.VerifierFunc(func(
			ctx context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if strings.HasPrefix(c.Token, "tok-") {
				return other.Verify(ctx, c)
			}
			return ring.Verify(ctx, c)
		})
	})
	try := func(r *http.Request, remote string) answer {
		r.Header.Set("Idempotency-Key", "1")
		return w.do(from(r, remote))
	}
	send := func(token, remote string) string {
		t.Helper()
		a := try(bearer(post(simple), token), remote)
		if a.Status != 202 {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		return a.QueueID
	}
	const here, there = "192.0.2.1:1", "192.0.2.2:1"
	const mine = "app@example.com"
	shop, id := issue("app", mine)
	second, _ := issue("app", mine)
	other, _ := issue("other@example.com", mine)
	narrow, _ := issue("app", "news@example.com")
	renewed, err := ring.Rotate(t.Context(), id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	first := send(shop, here)
	for _, c := range []struct {
		name  string
		token string
		from  string
		same  bool
	}{
		{"the same", shop, there, true},
		{"renewed", renewed, here, true},
		{"another of the owner", second, here, false},
		{"another owner", other, here, false},
	} {
		if got := send(c.token, c.from); (got == first) != c.same {
			t.Errorf("%s: %s after %s", c.name, got, first)
		}
	}
	if a := try(bearer(post(simple), narrow), here); a.Status != 403 ||
		a.SMTP.Enhanced != "5.7.60" {
		t.Errorf("a credential that may not send as the sender: %d %s", a.Status, a.Body)
	}
	if a := try(post(simple), here); a.Status != 202 || a.QueueID == first {
		t.Errorf("the owner's password: %d %s", a.Status, a.Body)
	}
	if a := send("tok-of-a", here); a == send("tok-of-b", here) || a != send("tok-of-a", there) {
		t.Error("a credential without a user shares its keys with another, or has others elsewhere")
	}
	if a := send("tok-of-nobody", here); a == send("tok-of-nobody", there) ||
		a != send("tok-of-nobody", here) {
		t.Error("who has neither user nor credential is not known by the address")
	}
}

// TestNoQuota: a credential whose caps nobody keeps sends nothing, and the log
// says why.
func TestNoQuota(t *testing.T) {
	t.Parallel()
	ring := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	token, c, err := ring.Issue(t.Context(), auth.Credential{Owner: "app@example.com", PerDay: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(w *world) {
		tokensOnly(w)
		w.cfg.Auth.Tokens, w.cfg.Quota = ring, nil
	})
	a := w.do(bearer(post(simple), token))
	cause := "Config.Quota is nil, so the caps of credential " + c.ID + " cannot be kept"
	if a.Status != 503 || a.SMTP.Code != 451 || a.SMTP.Enhanced != "4.3.0" ||
		strings.Contains(a.Body, "uota") || !strings.Contains(w.log.String(), cause) {
		t.Errorf("%d %s, log %s", a.Status, a.Body, w.log.String())
	}
	if e := w.rejected(); len(e) != 1 || !strings.Contains(e[0].Reason, cause) ||
		len(w.queued()) != 0 {
		t.Errorf("events %+v", e)
	}
}

// TestCaps: who has reached a cap is told when to come back.
func TestCaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		caps  auth.Credential
		at    time.Duration // after midnight UTC
		retry string
	}{
		{"minute", auth.Credential{PerMinute: 1}, time.Hour, "60"},
		{"day", auth.Credential{PerDay: 1}, 23 * time.Hour, "3600"},
		{"just before midnight", auth.Credential{PerDay: 1}, 24*time.Hour - time.Millisecond, "1"},
		{"both", auth.Credential{PerMinute: 1, PerDay: 1}, time.Hour, "60"},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(
				time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(24*time.Hour + c.at)),
			)
			ring := auth.NewKeyring(new(auth.MemoryCredentials), nil)
			c.caps.Owner = "app@example.com"
			token, _, err := ring.Issue(t.Context(), c.caps)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, func(w *world) {
				tokensOnly(w)
				w.cfg.Auth.Tokens, w.cfg.Quota = ring, ring
			})
			if a := w.do(bearer(post(simple), token)); a.Status != 202 {
				t.Fatalf("%s: %d %s", c.name, a.Status, a.Body)
			}
			a := w.do(bearer(post(simple), token))
			if a.Status != 429 || a.SMTP.Code != 450 || a.SMTP.Enhanced != "4.7.1" ||
				a.Header.Get("Retry-After") != c.retry {
				t.Errorf(
					"%s: %d %s, Retry-After %s, want %s", c.name, a.Status, a.Body,
					a.Header.Get("Retry-After"), c.retry,
				)
			}
		})
	}
}

// FuzzAuthorization: nothing but a token that is known, by the right scheme,
// gets a message in.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{
		"Bearer tok-good", "bearer  tok/good+1==", "Bearer tok-good ", "Bearer tok-good\x01\x01",
		"Bearer\ttok-good", "Basic dG9rLWdvb2Q6", "", "Bearer =", "Bearer a=b",
	} {
		f.Add(seed)
	}
	good := []string{"tok-good", "tok/good+1==", "tok-of-a", "tok-of-b", "tok-of-nobody"}
	w := newWorld(f, func(w *world) {
		tokensOnly(w)
		w.cfg.Events, w.cfg.Logger, w.http.Logger = nil, nil, nil
		w.cfg.Spool = forgetful{w.store}
		w.users.Limits.MessageRate = -1
	})
	f.Fuzz(func(t *testing.T, field string) {
		w.t = t
		a := w.do(post(simple, "Authorization", field))
		scheme, token, _ := strings.Cut(field, " ")
		known := strings.EqualFold(scheme, "Bearer") &&
			slices.Contains(good, strings.TrimLeft(token, " "))
		if (a.Status == 202) != known ||
			a.Status != 202 && a.Status != 401 && !strings.Contains(token, "tok-") {
			t.Fatalf("%q: %d %s", field, a.Status, a.Body)
		}
	})
}
