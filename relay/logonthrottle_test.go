package relay_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Over HTTP the same Throttle counts, and there is no logging on where there
// are no passwords.
func TestAuthenticateThrottled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg, w := config()
		cfg.Verifier, cfg.Auth = nil, everyMechanism(t, "secret")
		cfg.Auth.Certificates = nil
		cfg.Auth.Throttle = auth.NewThrottle(&auth.ThrottleOptions{Free: 2, Delay: time.Hour})
		cfg.Connectors = cfg.Connectors[2:]
		cfg.Connectors[0].Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.3:587")}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		logOn := func(password string) error {
			t.Helper()
			c, err := r.OpenSession(
				t.Context(), "users",
				relay.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:1"), Protocol: "HTTP"},
			)
			if err != nil {
				t.Fatal(err)
			}
			return c.Authenticate(
				t.Context(), auth.Proof{Username: "app@example.test", Password: password},
			)
		}
		code := func(err error) int {
			if e, ok := errors.AsType[*relay.ReplyError](err); ok {
				return e.Code
			}
			return 0
		}
		for i := range 3 {
			if err := logOn(fmt.Sprint("wrong", i)); code(err) != 535 {
				t.Errorf("attempt %d: %v", i, err)
			}
		}
		if err := logOn("secret"); code(err) != 454 ||
			!strings.Contains(err.Error(), "Too many failed logons") {
			t.Errorf("then %v", err)
		}
		for _, e := range w.events.all(event.Rejected) {
			if e.User != "app@example.test" || e.Stage != "auth" {
				t.Errorf("event %+v", e)
			}
		}
		cfg.Auth = &auth.Server{SCRAM: cfg.Auth.SCRAM}
		if err := r.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if err := logOn("secret"); code(err) != 504 {
			t.Errorf("without passwords: %v", err)
		}
	})
}

// Without anybody to verify credentials a session is told that there is no
// AUTH, and so says Explain.
func TestExplainWithoutAuth(t *testing.T) {
	for _, verifier := range []bool{true, false} {
		w := start(t, func(cfg *relay.Config) {
			cfg.TLS = certificate(t)
			users := cfg.Connectors[2]
			users.AuthMechanisms = connector.TLS | connector.ExchangeServer
			users.PermissionGroups = connector.ExchangeServers
			if !verifier {
				cfg.Verifier = nil
			}
		})
		c := w.dial(t, "users")
		c.Play(startTLS)
		c.Say("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00mallory\x00wrong")))
		local := w.relay.Addrs("users")[0]
		e, err := w.relay.Explain(
			t.Context(),
			relay.ExplainQuery{
				Local: local, Remote: netip.MustParseAddrPort("127.0.0.1:1"), TLS: true,
				User: "mallory",
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.reply(); !strings.HasPrefix(
			got, fmt.Sprint(e.Replies[0].Code, " ", e.Replies[0].Enhanced),
		) || verifier != strings.HasPrefix(got, "535 ") {
			t.Errorf("verifier %v: %q, explained as %+v", verifier, got, e.Replies[0])
		}
	}
}

// A Verifier alone is guarded against those who guess, and a reload does not
// give them another try.
func TestVerifierIsThrottled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		looks := 0
		cfg := local(newCapture(), newCapture())
		cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
		users := bind(connector.Submission("users"), "127.0.0.1")
		users.AuthMechanisms = connector.BasicAuth
		cfg.Connectors = []*connector.Connector{users}
		cfg.Verifier = auth.VerifierFunc(func(
			context.Context, auth.Proof,
		) (*auth.Identity, error) {
			looks++
			return nil, auth.ErrBadCredentials
		})
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for round := range 2 {
			for i := range 50 {
				c, err := r.OpenSession(
					t.Context(), "users",
					relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1"), Protocol: "HTTP"},
				)
				if err != nil {
					t.Fatal(err)
				}
				err = c.Authenticate(
					t.Context(), auth.Proof{Username: "app", Password: fmt.Sprint(round, i)},
				)
				if err == nil {
					t.Fatal("a wrong password was taken")
				}
			}
			if looks > 12 {
				t.Fatalf("round %d: %d guesses were looked at", round, looks)
			}
			if err := r.Reload(cfg); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Nobody waits for a verifier that ignores its context, over HTTP neither, and
// a reload leaves the salts of unknown users as they are.
func TestVerifierIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		cfg := local(newCapture(), newCapture())
		cfg.Hostname, cfg.Spool, cfg.TLS = "relay.example.test", memspool.New(nil), certificate(t)
		cfg.Connectors = []*connector.Connector{bind(connector.Submission("users"), "127.0.0.1")}
		cfg.Verifier = auth.VerifierFunc(func(
			context.Context, auth.Proof,
		) (*auth.Identity, error) {
			<-release
			return &auth.Identity{User: "app@example.test"}, nil
		})
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c, err := r.OpenSession(
			t.Context(), "users",
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"), TLS: new(tls.ConnectionState),
				Protocol: "HTTP",
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = c.Authenticate(
			t.Context(), auth.Proof{Username: "app@example.test", Password: "secret"},
		)
		if reply, ok := errors.AsType[*relay.ReplyError](err); !ok || reply.Code != 454 ||
			time.Since(began) != 30*time.Second || c.Identity() != nil {
			t.Errorf("%v after %v, then %v", err, time.Since(began), c.Identity())
		}
	})
	var kept relay.Config
	w := start(t, func(cfg *relay.Config) {
		cfg.TLS, cfg.Verifier, cfg.Auth = certificate(t), nil, everyMechanism(t, "secret")
		cfg.Auth.Certificates = nil
		cfg.Connectors[2].AuthMechanisms |= connector.TLS
		kept = *cfg
	})
	salt := func() string {
		c := w.dial(t, "users")
		c.Play(startTLS)
		c.Say(
			"AUTH SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString(
				[]byte("n,,n=nobody,r=nonce"),
			),
		)
		challenge, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.reply(), "334 "))
		_, s, _ := strings.Cut(string(challenge), ",s=")
		return s
	}
	before := salt()
	if err := w.relay.Reload(kept); err != nil {
		t.Fatal(err)
	}
	if after := salt(); before == "" || after != before {
		t.Errorf("salt %q, after a reload %q", before, after)
	}
}

// Who hangs up before the answer is counted none the less.
func TestHangingUpIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		looks := 0
		r := admitting(t, func(cfg *relay.Config) {
			cfg.Verifier = auth.VerifierFunc(func(
				ctx context.Context, _ auth.Proof,
			) (*auth.Identity, error) {
				looks++
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(100 * time.Millisecond):
					return nil, auth.ErrBadCredentials
				}
			})
		})
		for i := range 100 {
			c, err := r.OpenSession(t.Context(), "users", inTLS())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := c.Authenticate(
				ctx, auth.Proof{Username: "app", Password: fmt.Sprint("guess", i)},
			); err == nil {
				t.Error("a guess was taken")
			}
			cancel()
		}
		if looks > 12 {
			t.Errorf("%d guesses were looked at", looks)
		}
	})
}
