package smtpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"

	"github.com/postern-mail/postern/auth"
)

// maxAbandoned bounds the calls of verifiers that nobody waits for any more.
const maxAbandoned = 1000

var (
	errAbandoned = errors.New("smtpd: too many calls of verifiers have not returned")
	errNoAnswer  = errors.New("smtpd: the verifier ended its goroutine")
)

// Verifiers lets nobody wait for a verifier that ignores its context. It is safe for concurrent use.
type Verifiers struct {
	log       *slog.Logger
	abandoned atomic.Int64
}

// NewVerifiers returns Verifiers without a call under way. log learns of panics in calls that nobody waits for.
func NewVerifiers(log *slog.Logger) *Verifiers { return &Verifiers{log: log} }

// Bound returns a server like s whose calls end with their context. What a verifier says after that is dropped: it counts for neither
// the session nor the Throttle. With no SCRAMSecret the server draws one of its own.
func (v *Verifiers) Bound(s *auth.Server) *auth.Server {
	bound := &auth.Server{
		Passwords: v.verifier(s.Passwords), Tokens: v.verifier(s.Tokens), Certificates: v.verifier(s.Certificates),
		SCRAMIterations: s.SCRAMIterations, SCRAMSecret: s.SCRAMSecret,
		TokenScope: s.TokenScope, OpenIDConfiguration: s.OpenIDConfiguration, Throttle: s.Throttle,
	}
	if s.SCRAM != nil {
		bound.SCRAM = auth.SCRAMStoreFunc(func(ctx context.Context, c auth.Credentials) (string, *auth.Identity, error) {
			type user struct {
				keys string
				id   *auth.Identity
			}
			u, err := verify(ctx, v, func() (u user, err error) {
				u.keys, u.id, err = s.SCRAM.SCRAMKeys(ctx, c)
				return u, err
			})
			return u.keys, u.id, err
		})
	}
	return bound
}

func (v *Verifiers) verifier(of auth.Verifier) auth.Verifier {
	if of == nil {
		return nil
	}
	return auth.VerifierFunc(func(ctx context.Context, c auth.Credentials) (*auth.Identity, error) {
		return verify(ctx, v, func() (*auth.Identity, error) { return of.Verify(ctx, c) })
	})
}

// verify waits for the answer to a call until ctx ends.
func verify[T any](ctx context.Context, v *Verifiers, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
		panic string
	}
	var none T
	if v.abandoned.Load() >= maxAbandoned {
		return none, errAbandoned
	}
	answers := make(chan answer, 1)
	var over atomic.Bool // the call has returned, or nobody waits for it
	go func() {
		a := answer{err: errNoAnswer}
		defer func() {
			if p := recover(); p != nil {
				a.panic = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
			if over.CompareAndSwap(false, true) {
				answers <- a
				return
			}
			v.abandoned.Add(-1)
			if a.panic != "" {
				v.log.Error("panic in a verifier", "panic", a.panic)
			}
		}()
		a.value, a.err = call()
	}()
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		if over.CompareAndSwap(false, true) {
			v.abandoned.Add(1)
			return none, fmt.Errorf("smtpd: the verifier has not answered: %w", ctx.Err())
		}
		a = <-answers
	}
	if a.panic != "" {
		panic(a.panic) // as if it had been called here
	}
	return a.value, a.err
}
