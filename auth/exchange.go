package auth

import (
	"bytes"
	"context"
	"errors"
)

// maxMessage is the longest message of a client in octets: what fits into a
// line of 12288 (RFC 4954 section 4).
const maxMessage = 12288 / 4 * 3

// An Exchange is one attempt of a client to log on. It belongs to one session.
type Exchange struct {
	server *Server
	accept func(context.Context, *Identity) error
	c      Credentials
	step   step // nil when the exchange is over
	id     *Identity
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
func (x *Exchange) User() string { return x.c.Username }

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
	x.c.Username, x.c.Authzid = prepare(user), prepare(authzid)
	id, err := x.throttled(ctx, func(c Credentials) (*Identity, error) {
		if bad {
			return nil, ErrBadCredentials
		}
		return v.Verify(ctx, c)
	})
	x.c.Password, x.c.Token = "", ""
	x.id = id
	return err
}

// verdict is the error of Conn.Accept, which a Throttle tells from a
// verifier's.
type verdict struct{ error }

func (v verdict) Unwrap() error { return v.error }

// throttled verifies when the Throttle lets it. Who has shown a good secret is
// accepted or not in the same step.
func (x *Exchange) throttled(
	ctx context.Context, verify func(Credentials) (*Identity, error),
) (*Identity, error) {
	id, err := x.server.Throttle.do(ctx, x.c, func(c Credentials) (*Identity, error) {
		id, err := verify(c)
		if err == nil && id == nil {
			err = errNoIdentity
		}
		if err == nil && x.accept != nil {
			if err = x.accept(ctx, id); err != nil {
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

func (x *Exchange) plain(ctx context.Context, response []byte) ([]byte, error) {
	if response == nil {
		return x.again("", x.plain)
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 { // RFC 4616 section 2
		return nil, ErrSyntax
	}
	x.c.Password = string(parts[2])
	return nil, x.verify(ctx, x.server.Passwords, string(parts[1]), string(parts[0]))
}

func (x *Exchange) login(_ context.Context, response []byte) ([]byte, error) {
	if response == nil {
		return x.again("Username:", x.login)
	}
	user := string(response)
	return x.again("Password:", func(ctx context.Context, response []byte) ([]byte, error) {
		x.c.Password = string(response)
		return nil, x.verify(ctx, x.server.Passwords, user, "")
	})
}

func (x *Exchange) external(ctx context.Context, response []byte) ([]byte, error) {
	if response == nil { // RFC 4422 appendix A.1
		return x.again("", x.external)
	}
	if bytes.IndexByte(response, 0) >= 0 {
		return nil, ErrSyntax
	}
	return nil, x.verify(ctx, x.server.Certificates, string(response), "")
}
