package msgauth

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/postern-mail/postern"
)

var (
	// ErrNoKey answers Sign for a domain no key signs for.
	ErrNoKey = errors.New("msgauth: no key for the domain")
	// ErrFrom answers Sign for a header without a From field or with more than
	// one.
	ErrFrom = errors.New("msgauth: a message to be signed must have exactly one From field")
	// ErrTooManyFields answers Sign for a header that repeats fields to be
	// signed beyond reason.
	ErrTooManyFields = errors.New("msgauth: too many header fields to sign")
	// ErrBlank answers a Write of a body with more than a mebibyte of white
	// space in one piece, which a canonicalization would have to keep in
	// memory.
	ErrBlank = errors.New("msgauth: too much white space in one piece")
	// ErrPanicked answers a Close after the Signer of a key has panicked; the
	// error has its stack.
	ErrPanicked = errors.New("msgauth: the key's Signer panicked")
)

const (
	// maxNames bounds the list of signed fields (h=), which stands on one line.
	maxNames = 900
	maxBlank = 1 << 20
)

// Signer signs messages for the domains it has keys of.
type Signer struct {
	domains map[string]*domainKeys
}

type domainKeys struct {
	all        []Key
	subdomains []Key
}

// NewSigner returns a Signer with keys. It reports every fault of them at once,
// joined with errors.Join, each a *[postern.FieldError]. Without keys it signs
// nothing.
func NewSigner(keys ...Key) (*Signer, error) {
	s := &Signer{domains: make(map[string]*domainKeys)}
	var faults []error
	names := make(map[string]int)
	for i, k := range keys {
		k.Domain = canonical(k.Domain)
		for _, err := range k.faults() {
			faults = append(faults, &postern.FieldError{
				Field: fmt.Sprintf("[%d].%s", i, err.Field), Err: err.Err,
			})
		}
		name := strings.ToLower(k.Selector) + "._domainkey." + k.Domain
		if j, ok := names[name]; ok {
			faults = append(
				faults,
				&postern.FieldError{
					Field: fmt.Sprintf("[%d].Selector", i),
					Err:   fmt.Errorf("%q is taken by [%d]", k.Selector, j),
				},
			)
		}
		names[name] = i
		d := s.domains[k.Domain]
		if d == nil {
			d = &domainKeys{}
			s.domains[k.Domain] = d
		}
		d.all = append(d.all, k)
		if k.Subdomains {
			d.subdomains = append(d.subdomains, k)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return s, nil
}

// For returns the keys that sign for a domain in A-labels: those of the domain
// itself, or else those with Subdomains of the nearest domain above it. The
// caller must not change them.
func (s *Signer) For(domain string) []Key {
	if len(s.domains) == 0 {
		return nil
	}
	domain = canonical(domain)
	if d := s.domains[domain]; d != nil {
		return d.all
	}
	for {
		var ok bool
		if _, domain, ok = strings.Cut(domain, "."); !ok {
			return nil
		}
		if d := s.domains[domain]; d != nil && len(d.subdomains) > 0 {
			return d.subdomains
		}
	}
}

// Sign begins to sign a message for the domain of its From field. header is the
// header section, with or without the blank line that ends it; it must not
// change before Sign returns. The body is written to the Signing. The caller
// bounds the size of both.
//
// The errors are [ErrNoKey], [ErrFrom] and [ErrTooManyFields]; all three are
// there before anything was done, so there is nothing to close.
func (s *Signer) Sign(domain string, header []byte) (*Signing, error) {
	keys := s.For(domain)
	if len(keys) == 0 {
		return nil, ErrNoKey
	}
	names, fields, err := prepare(header)
	if err != nil {
		return nil, err
	}
	g := &Signing{streams: make([]*dkim.Signer, 0, len(keys))}
	for _, k := range keys {
		// go-msgauth: NewSigner starts a goroutine, which ends with Close only.
		stream, err := dkim.NewSigner(&dkim.SignOptions{
			Domain:                 k.Domain,
			Selector:               k.Selector,
			Signer:                 safeSigner{k.Signer},
			HeaderCanonicalization: dkim.CanonicalizationRelaxed,
			BodyCanonicalization:   dkim.CanonicalizationRelaxed,
			HeaderKeys:             names,
		})
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("msgauth: %w", err)
		}
		g.streams = append(g.streams, stream)
	}
	if err := g.feed(fields); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// safeSigner makes a panic of a key an error: go-msgauth calls it on a
// goroutine of its own, where a panic would end the process.
type safeSigner struct{ crypto.Signer }

func (s safeSigner) Sign(
	r io.Reader, digest []byte, opts crypto.SignerOpts,
) (sig []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			sig, err = nil, fmt.Errorf("%w: %v\n\n%s", ErrPanicked, v, debug.Stack())
		}
	}()
	return s.Signer.Sign(r, digest, opts)
}

// Signing is a message being signed. The body goes in by Write; after Close the
// signatures come out of Fields.
type Signing struct {
	streams []*dkim.Signer
	blank   int // white space at the end of what was written so far
	err     error
	closed  bool
	fields  []byte
}

// Write takes a part of the body. After an error nothing more can be signed.
func (g *Signing) Write(p []byte) (int, error) {
	if g.err == nil && g.closed {
		g.err = errors.New("msgauth: write after Close")
	}
	if g.err != nil {
		return 0, g.err
	}
	const white = " \t\r\n"
	g.blank += len(p) - len(bytes.TrimLeft(p, white))
	if g.blank > maxBlank {
		g.err = ErrBlank
		return 0, g.err
	}
	if last := bytes.TrimRight(p, white); len(last) > 0 {
		g.blank = len(p) - len(last)
	}
	if err := g.feed(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (g *Signing) feed(p []byte) error {
	for _, s := range g.streams {
		if _, err := s.Write(p); err != nil {
			g.err = fmt.Errorf("msgauth: %w", err)
			return g.err
		}
	}
	return nil
}

// Close ends the body and signs. After a Write that failed it returns that
// error and there are no signatures. It must be called also when the message is
// given up. Further calls return what the first did.
func (g *Signing) Close() error {
	if g.closed {
		return g.err
	}
	g.closed = true
	for _, s := range g.streams {
		// Every stream must be closed, or its goroutine would stay.
		if err := s.Close(); err != nil && g.err == nil {
			g.err = fmt.Errorf("msgauth: %w", err)
		}
	}
	if g.err != nil {
		return g.err
	}
	for _, s := range g.streams {
		g.fields = append(g.fields, s.Signature()...)
	}
	return nil
}

// Fields returns the DKIM-Signature fields to put on top of the message, with
// their line ends. It is empty before Close and after an error.
func (g *Signing) Fields() []byte { return g.fields }

var _ io.WriteCloser = (*Signing)(nil)
