package smtpd_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/wiretest"
)

// A verifier that ignores its context keeps neither the client nor the Throttle
// waiting, and what it says too late is nothing.
func TestStuckVerifier(t *testing.T) {
	for mechanism, d := range map[string]func() responder{
		"PLAIN": func() responder { return fixed("\x00stuck\x00secret") },
		"OAUTHBEARER": func() responder {
			return fixed("n,a=stuck,\x01auth=Bearer secret\x01\x01")
		},
		"SCRAM-SHA-256": func() responder { return scramClient(t, "stuck", "secret", unbound) },
		"EXTERNAL":      func() responder { return fixed("") },
	} {
		for _, late := range []error{nil, auth.ErrBadCredentials} {
			saslRig(t, submission(), func(t *testing.T, r *rig) {
				release, returned := make(chan struct{}), new(atomic.Int32)
				stuck := func(context.Context, auth.Proof) (*auth.Identity, error) {
					<-release
					returned.Add(1)
					return &auth.Identity{User: "stuck", Senders: []string{"*@example.test"}}, late
				}
				quick := people().Passwords
				server := &auth.Server{
					Passwords: auth.VerifierFunc(func(
						ctx context.Context, c auth.Proof,
					) (*auth.Identity, error) {
						if c.Username == "stuck" {
							return stuck(ctx, c)
						}
						return quick.Verify(ctx, c)
					}),
					SCRAM: auth.SCRAMStoreFunc(func(
						ctx context.Context, c auth.Proof,
					) (string, *auth.Identity, error) {
						id, err := stuck(ctx, c)
						return storedKeys(), id, err
					}),
					Tokens: auth.VerifierFunc(stuck), Certificates: auth.VerifierFunc(stuck),
					Throttle: auth.NewThrottle(&auth.ThrottleOptions{Free: 1, SourceFree: 1}),
				}
				b := &proof{recorder: r.backend}
				r.settings.Auth, r.settings.Backend = bounded(server), b
				r.server.Apply(r.settings)
				p := r.inside("192.0.2.7:40000", authority().issue(nil, "stuck.example.test"))
				began := time.Now()
				reply, _ := p.logOn(mechanism, true, d())
				if took := time.Since(
					began,
				); reply != "454 4.7.0 Temporary authentication failure" || took != 30*time.Second {
					t.Fatalf("%s: %q after %v", mechanism, reply, took)
				}
				p.Say("MAIL FROM:<a@example.test>")
				p.Expect("530 *")
				// The place that it had is another's.
				began = time.Now()
				if reply, _ := p.logOn(
					"PLAIN", true, fixed("\x00alice\x00secret"),
				); !wiretest.Match("235 *", reply) || time.Since(began) != 0 {
					t.Errorf("%s: then %q after %v", mechanism, reply, time.Since(began))
				}
				close(release)
				synctest.Wait()
				if returned.Load() != 1 {
					t.Errorf("%s: %d calls have returned", mechanism, returned.Load())
				}
				p.Say("MAIL FROM:<a@example.test>")
				p.Expect("250 *")
				if b.user != "alice" || b.rights != connector.ExchangeUsers.Rights() {
					t.Errorf("%s: the session is that of %q with %s", mechanism, b.user, b.rights)
				}
				// A late failure is no failure: the next guess is looked at, at
				// once.
				q := r.inside("192.0.2.7:40001", nil)
				if reply, _ := q.logOn(
					"PLAIN", true, fixed("\x00alice\x00wrong"),
				); !wiretest.Match("535 *", reply) || time.Since(began) != 0 {
					t.Errorf("%s: %q after %v", mechanism, reply, time.Since(began))
				}
			})
		}
	}
}
