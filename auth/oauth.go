package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
)

// Whoever has a token can use it again, so that these are for TLS only (RFC
// 7628 section 4).

func oauthBearer() mechanism {
	return mechanism{
		name: OAuthBearer, showsSecret: true, needsTLS: true, offered: takesTokens,
		begin: func(x *Exchange) step { return x.oauthBearer },
	}
}

func xoauth2() mechanism {
	return mechanism{
		name: XOAuth2, showsSecret: true, needsTLS: true, offered: takesTokens,
		begin: func(x *Exchange) step { return x.xoauth2 },
	}
}

func takesTokens(s *Server, _ Conn) bool { return s.Tokens != nil }

// oauthBearer takes the message of RFC 7628 section 3.1: a GS2 header and pairs
// of keys and values.
func (x *Exchange) oauthBearer(ctx context.Context, response []byte) ([]byte, error) {
	if response == nil {
		return x.again("", x.oauthBearer)
	}
	header, pairs, ok := strings.Cut(string(response), "\x01")
	if !ok {
		return nil, ErrSyntax
	}
	flag, rest, _ := strings.Cut(header, ",")
	name, end, ok := strings.Cut(rest, ",")
	// a channel binding would need a -PLUS variant
	if !ok || end != "" || flag != "n" && flag != "y" {
		return nil, ErrSyntax
	}
	user := ""
	if name != "" {
		if user, ok = gs2Name(name); !ok {
			return nil, ErrSyntax
		}
	}
	return x.token(ctx, user, pairs, map[string]string{
		"status": "invalid_token", "scope": x.server.TokenScope,
		"openid-configuration": x.server.OpenIDConfiguration,
	})
}

// xoauth2 takes the older form: the user is one of the pairs.
func (x *Exchange) xoauth2(ctx context.Context, response []byte) ([]byte, error) {
	if response == nil {
		return x.again("", x.xoauth2)
	}
	user, pairs, ok := strings.Cut(string(response), "\x01")
	user, named := strings.CutPrefix(user, "user=")
	if !ok || !named || user == "" {
		return nil, ErrSyntax
	}
	return x.token(
		ctx, user, pairs,
		map[string]string{"status": "401", "schemes": "bearer", "scope": x.server.TokenScope},
	)
}

// token verifies the token in pairs. One that is refused is explained to the
// client, which has to answer before the exchange ends (RFC 7628 section
// 3.2.3).
func (x *Exchange) token(
	ctx context.Context, user, pairs string, refusal map[string]string,
) ([]byte, error) {
	token, ok := bearer(pairs)
	if !ok {
		return nil, ErrSyntax
	}
	x.proof.Token = token
	v := x.server.Tokens
	if token == "" { // the client wants the explanation only
		v = VerifierFunc(func(context.Context, Proof) (*Identity, error) {
			return nil, ErrBadCredentials
		})
	}
	err := x.verify(ctx, v, user, "")
	if !errors.Is(err, ErrBadCredentials) {
		return nil, err
	}
	for k, v := range refusal {
		if v == "" {
			delete(refusal, k)
		}
	}
	x.refused = true
	text, _ := json.Marshal(refusal) // strings always can be
	return x.again(string(text), func(context.Context, []byte) ([]byte, error) { return nil, err })
}

// bearer returns the token of the pair "auth", which is empty if the client
// sent none.
func bearer(pairs string) (token string, ok bool) {
	pairs, ok = strings.CutSuffix(pairs, "\x01")
	if !ok || pairs == "" {
		return "", ok
	}
	pairs, ok = strings.CutSuffix(pairs, "\x01")
	if !ok {
		return "", false
	}
	found := false
	for pair := range strings.SplitSeq(pairs, "\x01") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || strings.Trim(key, letters) != "" {
			return "", false
		}
		if !strings.EqualFold(key, "auth") {
			continue // host, port and what may come
		}
		if found {
			return "", false
		}
		found = true
		scheme, value, _ := strings.Cut(value, " ")
		token = strings.Trim(value, " ")
		if scheme != "" && !strings.EqualFold(scheme, "Bearer") ||
			strings.Trim(token, tokenDigits) != "" {
			return "", false
		}
	}
	return token, true
}

const (
	letters     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	tokenDigits = letters + "0123456789-._~+/=" // RFC 6750 section 2.1
)

// gs2Name reads the authorization identity of a GS2 header (RFC 5801 section
// 4).
func gs2Name(s string) (name string, ok bool) {
	s, ok = strings.CutPrefix(s, "a=")
	if !ok || s == "" {
		return "", false
	}
	var b bytes.Buffer
	for {
		before, after, found := strings.Cut(s, "=")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		switch {
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = after[2:]
	}
}
