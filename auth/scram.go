package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// A SCRAMStore finds the keys that SCRAM needs instead of a password. It is
// called by many sessions at once.
type SCRAMStore interface {
	// SCRAMKeys returns what [NewSCRAMKeys] has made for the user of c, whose
	// Password is empty, and the identity of that user. It returns
	// [ErrBadCredentials] when there is no such user, and another error when
	// that cannot be known now.
	SCRAMKeys(ctx context.Context, c Proof) (keys string, id *Identity, err error)
}

// SCRAMStoreFunc is an adapter to use a function as a SCRAMStore.
type SCRAMStoreFunc func(ctx context.Context, c Proof) (string, *Identity, error)

// SCRAMKeys calls f.
func (f SCRAMStoreFunc) SCRAMKeys(ctx context.Context, c Proof) (string, *Identity, error) {
	if f == nil {
		return "", nil, errors.New("auth: no SCRAMStore")
	}
	return f(ctx, c)
}

const (
	scramPrefix     = "SCRAM-SHA-256$"
	scramSalt       = 16    // octets
	scramIterations = 15000 // of new keys; the client does this work
	minIterations   = 4096  // RFC 7677 section 4
	maxIterations   = 5_000_000
	maxSCRAM        = 4096 // octets of a client's message
)

// NewSCRAMKeys returns what to store for a user who logs on by SCRAM-SHA-256,
// with a new salt and 15000 iterations, in the form that PostgreSQL uses too:
//
//	SCRAM-SHA-256$15000:<salt>$<StoredKey>:<ServerKey>
//
// It serves as a password hash for PLAIN and LOGIN as well. It is an error if
// the password is empty or has characters that SASLprep (RFC 4013) forbids,
// since clients could not use it.
func NewSCRAMKeys(password string) (string, error) {
	salt := make([]byte, scramSalt)
	rand.Read(salt) // never fails
	return scramKeys(password, salt, scramIterations)
}

func scramKeys(password string, salt []byte, iterations int) (string, error) {
	if password == "" {
		return "", errors.New("auth: no password")
	}
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		return "", errors.New("auth: the password has characters that no password may have")
	}
	k, err := client.GetStoredCredentialsWithError(
		scram.KeyFactors{Salt: string(salt), Iters: iterations},
	)
	if err != nil {
		return "", fmt.Errorf("auth: SCRAM keys: %w", err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return scramPrefix + strconv.Itoa(k.Iters) + ":" + b64(salt) + "$" + b64(
		k.StoredKey,
	) + ":" + b64(k.ServerKey), nil
}

// errSCRAMKeys tells nothing of the keys.
var errSCRAMKeys = errors.New("malformed SCRAM keys")

func parseSCRAMKeys(text string) (k scram.StoredCredentials, err error) {
	text, ok := strings.CutPrefix(text, scramPrefix)
	factors, keys, ok2 := strings.Cut(text, "$")
	iterations, salt, ok3 := strings.Cut(factors, ":")
	stored, server, ok4 := strings.Cut(keys, ":")
	n, err := strconv.Atoi(iterations)
	if !ok || !ok2 || !ok3 || !ok4 || err != nil || n < minIterations || n > maxIterations {
		return k, errSCRAMKeys
	}
	b64 := base64.StdEncoding.Strict().DecodeString
	rawSalt, err1 := b64(salt)
	storedKey, err2 := b64(stored)
	serverKey, err3 := b64(server)
	if err1 != nil || err2 != nil || err3 != nil || len(rawSalt) < 8 || len(rawSalt) > 64 ||
		len(storedKey) != sha256.Size || len(serverKey) != sha256.Size {
		return k, errSCRAMKeys
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(rawSalt), Iters: n},
		StoredKey:  storedKey,
		ServerKey:  serverKey,
	}, nil
}

// scramHash is a hash of a password too.
type scramHash scram.StoredCredentials

func (h scramHash) match(password string) bool {
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil { // PostgreSQL takes such a password as it is
		if client, err = scram.SHA256.NewClientUnprepped("", password, ""); err != nil {
			return false
		}
	}
	got, err := client.GetStoredCredentialsWithError(h.KeyFactors)
	return err == nil && hmac.Equal(got.StoredKey, h.StoredKey)
}

// decoy returns the keys of a user who does not exist: always the same, and of
// no password.
func (s *Server) decoy(user string) scram.StoredCredentials {
	derive := func(what string) []byte {
		mac := hmac.New(sha256.New, s.scramSecret())
		mac.Write([]byte(what + "\x00" + user))
		return mac.Sum(nil)
	}
	n := s.SCRAMIterations
	if n <= 0 {
		n = scramIterations
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(derive("salt")[:scramSalt]), Iters: n},
		StoredKey:  derive("stored"),
		ServerKey:  derive("server"),
	}
}

// binding returns the data of a channel binding, which is not supported if the
// connection has none. The one of TLS 1.2 named tls-unique is left out: it does
// not hold without the extended master secret, and with that tls-exporter does
// the same.
func (c Conn) binding(t scram.ChannelBindingType) (cb scram.ChannelBinding) {
	if c.TLS == nil || !c.TLS.HandshakeComplete { // a state made by hand has nothing to bind to
		return cb
	}
	switch t {
	case scram.ChannelBindingTLSExporter:
		cb, _ = scram.NewTLSExporterBinding(c.TLS)
	case scram.ChannelBindingTLSServerEndpoint:
		if c.Certificate != nil { // the library has the client's side in mind
			cb, _ = scram.NewTLSServerEndpointBinding(
				&tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.Certificate}},
			)
		}
	}
	return cb
}

func scramSHA256() mechanism {
	return mechanism{
		name:    ScramSHA256,
		offered: func(s *Server, _ Conn) bool { return s.SCRAM != nil },
		begin:   func(x *Exchange) step { return (&scramExchange{Exchange: x}).first },
	}
}

func scramSHA256Plus() mechanism {
	return mechanism{
		name: ScramSHA256Plus, needsTLS: true,
		offered: func(s *Server, c Conn) bool {
			return s.SCRAM != nil && (c.binding(scram.ChannelBindingTLSExporter).IsSupported() ||
				c.binding(scram.ChannelBindingTLSServerEndpoint).IsSupported())
		},
		begin: func(x *Exchange) step { return (&scramExchange{Exchange: x}).first },
	}
}

// scramExchange is the server's side of RFC 5802.
type scramExchange struct {
	*Exchange
	talk  *scram.ServerConversation
	found *Identity // nil for an unknown user
}

// first takes the client-first-message.
func (x *scramExchange) first(ctx context.Context, response []byte) ([]byte, error) {
	if response == nil {
		return x.again("", x.first)
	}
	if len(response) > maxSCRAM {
		return nil, ErrSyntax
	}
	message := string(response)
	flag, _, _ := strings.Cut(message, ",")
	var binding scram.ChannelBinding
	switch name, bound := strings.CutPrefix(flag, "p="); {
	case bound != (x.proof.Mechanism == ScramSHA256Plus):
		return nil, ErrSyntax
	case bound:
		if binding = x.conn.binding(scram.ChannelBindingType(name)); !binding.IsSupported() {
			return nil, fmt.Errorf("%w: unknown channel binding", ErrBadCredentials)
		}
	case flag == "y" && x.server.offers(scramSHA256Plus(), x.conn):
		// Somebody has hidden the -PLUS from the client (RFC 5802 section 6).
		return nil, fmt.Errorf("%w: the client was not offered channel binding", ErrBadCredentials)
	}
	var fault error
	server, err := scram.SHA256.NewServer(func(user string) (k scram.StoredCredentials, err error) {
		k, fault = x.keys(ctx, user)
		return k, fault
	})
	if err != nil {
		return nil, err
	}
	if x.server.nonce != nil {
		server.WithNonceGenerator(x.server.nonce)
	}
	x.talk = server.NewConversation()
	if binding.IsSupported() {
		x.talk = server.NewConversationWithChannelBindingRequired(binding)
	}
	challenge, err := x.talk.Step(message)
	if fault != nil {
		return nil, fault
	}
	if err != nil {
		return nil, ErrSyntax
	}
	if authzid := x.talk.AuthzID(); authzid != "" {
		if name, err := PrepareName(authzid); err != nil || name != x.proof.Username {
			x.found = nil
		}
	}
	return x.again(challenge, x.final)
}

// scramUser is what a store knows of a user.
type scramUser struct {
	keys string
	id   *Identity
}

// keys looks up a user. One that is unknown gets keys too.
func (x *scramExchange) keys(ctx context.Context, user string) (scram.StoredCredentials, error) {
	decoy := x.server.decoy(user)
	name, err := PrepareName(user)
	if err != nil {
		return decoy, nil
	}
	x.proof.Username = name
	decoy = x.server.decoy(name)
	proof := x.proof // one that does not change while the question is open
	found, err := ask(ctx, x.Exchange, func() (found scramUser, err error) {
		found.keys, found.id, err = x.server.SCRAM.SCRAMKeys(ctx, proof)
		return found, err
	})
	switch {
	case errors.Is(err, ErrBadCredentials):
		return decoy, nil
	case err != nil:
		return decoy, err
	case found.id == nil:
		return decoy, errNoIdentity
	}
	k, err := parseSCRAMKeys(found.keys)
	if err != nil {
		return decoy, fmt.Errorf("auth: user %q: %w", name, err)
	}
	x.found = found.id
	return k, nil
}

// final takes the client-final-message.
func (x *scramExchange) final(ctx context.Context, response []byte) ([]byte, error) {
	if len(response) > maxSCRAM {
		return nil, ErrSyntax
	}
	var challenge string
	id, err := x.throttled(ctx, func(Proof) (_ *Identity, err error) {
		challenge, err = x.talk.Step(string(response))
		switch {
		case err != nil && challenge == "":
			return nil, ErrSyntax
		case err != nil || !x.talk.Valid() || x.found == nil:
			return nil, ErrBadCredentials
		}
		return x.found, nil
	})
	if err != nil {
		return nil, err
	}
	// The server's proof is one more challenge, answered by nothing (RFC 4954
	// section 4).
	return x.again(challenge, func(_ context.Context, response []byte) ([]byte, error) {
		if len(response) > 0 {
			return nil, ErrSyntax
		}
		x.id = id
		return nil, nil
	})
}
