package auth

import (
	"bytes"
	"context"
)

func external() mechanism {
	return mechanism{
		name: External, needsTLS: true,
		offered: func(s *Server, c Conn) bool {
			return s.Certificates != nil && len(c.TLS.VerifiedChains) > 0
		},
		begin: func(x *Exchange) step { return x.external },
	}
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
