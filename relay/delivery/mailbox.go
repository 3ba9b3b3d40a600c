package delivery

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/domains"
)

// Mailbox returns a Transport that calls deliver once for each recipient; nil
// means delivered. An error may pass, unless errors.As finds an [*Error] in it
// that is Permanent, as it does in what relay.Reject returns. A panic is a
// [*Panic], an error that may pass, of that recipient alone.
//
// The address is spelled as the sender wrote it: look it up by FoldedKey, as
// the domain's Recipients do. The postmaster of an authoritative domain comes
// too, listed or not, and so does a recipient that was removed meanwhile.
func Mailbox(deliver func(ctx context.Context, to domains.Address, a *Attempt) error) Transport {
	if deliver == nil {
		return TransportFunc(nil)
	}
	return TransportFunc(func(ctx context.Context, a *Attempt) []Result {
		results := make([]Result, len(a.Recipients))
		for i, r := range a.Recipients {
			to, err := domains.Parse(r.Address)
			if err == nil {
				err = contained(func() error { return deliver(ctx, to, a) })
			}
			results[i] = ofMailbox(err)
		}
		return results
	})
}

// contained keeps a panic of f to one recipient: the others would get a copy at
// every attempt.
func contained(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = Recovered(v)
		}
	}()
	return f()
}

func ofMailbox(err error) Result {
	if err == nil {
		return Result{Delivered: true}
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		err = &Error{Op: OpMailbox, Err: err}
	}
	return Failed(err)
}
