package auth

import (
	"context"
	"errors"
)

// maxMessage is the longest message of a client in octets: what fits into a
// line of 12288 (RFC 4954 section 4).
const maxMessage = 12288 / 4 * 3

// An Exchange is one attempt of a client to log on. It belongs to one session.
type Exchange struct {
	server  *Server
	conn    Conn
	proof   Proof
	step    step // nil when the exchange is over
	refused bool
	id      *Identity
}

// A step takes a message of the client. It is over when the challenge is nil.
type step func(ctx context.Context, response []byte) (challenge []byte, err error)

// Next takes the client's next message and returns what to send it. The first
// message is the initial response; nil stands for none, which is not the same
// as an empty one. The exchange has ended when done is true, with an identity,
// or when there is an error: [ErrBadCredentials], [ErrSyntax], a
// [*ThrottledError], or another that tells why it cannot be known now whether
// the client is right. Messages are not encoded in base64.
func (x *Exchange) Next(ctx context.Context, response []byte) (
	challenge []byte, done bool, err error,
) {
	step := x.step
	x.step = nil
	if step == nil || len(response) > maxMessage {
		return nil, false, ErrSyntax
	}
	challenge, err = step(ctx, response)
	if err != nil {
		x.id, x.step = nil, nil
		return nil, false, err
	}
	return challenge, challenge == nil, nil
}

// Identity is who the client is, once Next has said that the exchange is done.
func (x *Exchange) Identity() *Identity {
	if x.step != nil {
		return nil
	}
	return x.id
}

// User is the name that the client has given so far, fit for a log. It is
// empty if there is none, or if [PrepareName] refuses it.
func (x *Exchange) User() string { return x.proof.Username }

// Refused reports whether the client has been told in a challenge that it is
// refused: what it sends next only ends the exchange (RFC 7628 section 3.2.3).
func (x *Exchange) Refused() bool { return x.refused }

// again asks the client for another message.
func (x *Exchange) again(challenge string, next step) ([]byte, error) {
	x.step = next
	return []byte(challenge), nil
}

var errNoIdentity = errors.New("auth: the verifier gave no identity")

// verify asks v about what the client has shown, as user and on behalf of
// authzid.
func (x *Exchange) verify(ctx context.Context, v Verifier, user, authzid string) error {
	bad := false
	prepare := func(name string) string {
		if name == "" {
			return ""
		}
		prepared, err := PrepareName(name)
		bad = bad || err != nil
		return prepared
	}
	x.proof.Username, x.proof.Authzid = prepare(user), prepare(authzid)
	id, err := x.throttled(ctx, func(c Proof) (*Identity, error) {
		if bad {
			return nil, ErrBadCredentials
		}
		return ask(ctx, x, func() (*Identity, error) { return v.Verify(ctx, c) })
	})
	x.proof.Password, x.proof.Token = "", ""
	x.id = id
	return err
}

// ask puts a question to a verifier or a store, as the connection wants it.
func ask[T any](ctx context.Context, x *Exchange, question func() (T, error)) (T, error) {
	if x.conn.Ask == nil {
		return question()
	}
	var answer, none T
	err := x.conn.Ask(ctx, func() (err error) {
		answer, err = question()
		return err
	})
	if err != nil { // the question may still be open: answer is not ours
		return none, err
	}
	return answer, nil
}

// verdict is the error of Conn.Accept, which a Throttle tells from a
// verifier's.
type verdict struct{ error }

func (v verdict) Unwrap() error { return v.error }

// throttled verifies when the Throttle lets it. Who has shown a good secret is
// accepted or not in the same step.
func (x *Exchange) throttled(
	ctx context.Context, verify func(Proof) (*Identity, error),
) (*Identity, error) {
	id, err := x.server.Throttle.do(ctx, x.proof, func(c Proof) (*Identity, error) {
		id, err := verify(c)
		if err == nil && id == nil {
			err = errNoIdentity
		}
		if err == nil && x.conn.Accept != nil {
			if err = x.conn.Accept(ctx, id); err != nil {
				err = verdict{err}
			}
		}
		if err != nil {
			return nil, err
		}
		return id, nil
	})
	if v, ok := err.(verdict); ok {
		err = v.error
	}
	return id, err
}
