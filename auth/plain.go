package auth

import (
	"bytes"
	"context"
)

func plain() mechanism {
	return mechanism{
		name: Plain, showsSecret: true, offered: takesPasswords,
		begin: func(x *Exchange) step { return x.plain },
	}
}

func login() mechanism {
	return mechanism{
		name: Login, showsSecret: true, offered: takesPasswords,
		begin: func(x *Exchange) step { return x.login },
	}
}

func takesPasswords(s *Server, _ Conn) bool { return s.Passwords != nil }

func (x *Exchange) plain(ctx context.Context, response []byte) ([]byte, error) {
	if response == nil {
		return x.again("", x.plain)
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 { // RFC 4616 section 2
		return nil, ErrSyntax
	}
	x.proof.Password = string(parts[2])
	return nil, x.verify(ctx, x.server.Passwords, string(parts[1]), string(parts[0]))
}

func (x *Exchange) login(_ context.Context, response []byte) ([]byte, error) {
	if response == nil {
		return x.again("Username:", x.login)
	}
	user := string(response)
	return x.again("Password:", func(ctx context.Context, response []byte) ([]byte, error) {
		x.proof.Password = string(response)
		return nil, x.verify(ctx, x.server.Passwords, user, "")
	})
}
