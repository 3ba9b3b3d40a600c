package relay

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// maxSigned bounds the header section of a message that is signed when it
// leaves. What was accepted is bounded by its connector's MaxHeaderBytes.
const maxSigned = 16 << 20

// signer signs what this relay vouches for.
type signer struct {
	keys *msgauth.Signer // nil without keys

	log *slog.Logger

	mu   sync.Mutex
	told map[string]bool // why mail went unsigned, each once
}

// newSigner makes what signs by the keys of a configuration.
func newSigner(cfg *Config, log *slog.Logger, f *faults) *signer {
	d := &signer{log: log}
	if len(cfg.DKIM) > 0 {
		var err error
		d.keys, err = msgauth.NewSigner(cfg.DKIM...)
		f.join("DKIM", err)
	}
	return d
}

// Why a message goes unsigned though this relay has keys.
const (
	unreadableAuthor = "the From field cannot be read"
	severalDomains   = "the authors are of several domains"
	parentOnly       = "the key of the domain above does not sign for subdomains"
	keyGone          = "it had to be converted to 7-bit, and its key is gone"
	unfitToSign      = "it cannot be signed"
)

// unsigned tells the log, once for each reason, that a message goes without a
// signature though there are keys.
func (d *signer) unsigned(id, domain, reason string, err error) {
	if !d.first(reason) {
		return
	}
	attrs := []any{"queue_id", id, "reason", reason}
	if domain != "" {
		attrs = append(attrs, "domain", domain)
	}
	if err != nil {
		attrs = append(attrs, "err", err)
	}
	d.log.Warn("message not signed by DKIM; further ones for this reason are not logged", attrs...)
}

// first reports whether the log was not told of the reason yet.
func (d *signer) first(reason string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told[reason] {
		return false
	}
	if d.told == nil {
		d.told = make(map[string]bool)
	}
	d.told[reason] = true
	return true
}

// authorDomain returns the domain of the authors in a From value if this relay
// signs for it, and an empty string if not. Several authors of one domain count
// as one: receivers check each domain of the field (RFC 7489 section 6.6.1).
func (d *signer) authorDomain(id, from string) string {
	if d.keys == nil {
		return ""
	}
	list, err := header.Addresses(from)
	if err != nil {
		d.unsigned(id, "", unreadableAuthor, err)
		return ""
	}
	domain, several, keys := "", false, false
	for _, s := range list {
		a, err := domains.Parse(s)
		if err != nil {
			d.unsigned(id, "", unreadableAuthor, err)
			return ""
		}
		several = several || domain != "" && domain != a.Domain()
		domain = a.Domain()
		keys = keys || len(d.keys.For(domain)) > 0
	}
	switch {
	case several && keys:
		d.unsigned(id, "", severalDomains, nil)
	case keys && !several:
		return domain
	case !keys && d.parent(domain):
		d.unsigned(id, domain, parentOnly, nil)
	}
	return ""
}

// parent reports whether a domain above has keys. [msgauth.Signer.For] has said
// that none of them signs for subdomains.
func (d *signer) parent(domain string) bool {
	for {
		var ok bool
		if _, domain, ok = strings.Cut(domain, "."); !ok {
			return false
		}
		if len(d.keys.For(domain)) > 0 {
			return true
		}
	}
}

// begin begins to sign a message with that header section. It returns nil if
// this relay does not sign for its author.
func (d *signer) begin(id, from string, section []byte) (*msgauth.Signing, error) {
	domain := d.authorDomain(id, from)
	if domain == "" {
		return nil, nil
	}
	return d.keys.Sign(domain, section)
}

// sign begins to sign a message, if this relay signs for its author's domain.
// It returns nil if not.
//
// Only what an authenticated user, a relaying host or the application sends is
// signed: a stranger who writes to one of our recipients must not get our
// signature on his From field.
func (d *signer) sign(in *intake, h *header.Header, extra []byte) (*msgauth.Signing, error) {
	known := in.client.Identity != nil || in.client.Rights.Has(connector.AcceptAnyRecipient)
	if d.keys == nil || !known {
		return nil, nil
	}
	section := make([]byte, 0, len(extra)+len(h.Bytes()))
	section = append(append(section, extra...), h.Bytes()...)
	s, err := d.begin(in.message.ID.String(), h.Value("From"), section)
	switch {
	case errors.Is(err, msgauth.ErrFrom):
		return nil, policy.TwoFrom.Reply()
	case errors.Is(err, msgauth.ErrTooManyFields):
		return nil, policy.TooManyFields.Reply()
	}
	return s, err
}

// signatures counts the fields that a [msgauth.Signing] made.
func signatures(fields []byte) int { return bytes.Count(fields, []byte("DKIM-Signature:")) }

// signs signs the message that is written to it. Its Write does not fail: what
// goes wrong is told by close.
type signs struct {
	signer  *signer
	id      string
	head    []byte // until the blank line has come
	begun   bool
	signing *msgauth.Signing // nil: the message goes unsigned
	err     error
}

var errHeaderTooLarge = errors.New("relay: header section too large to be signed")

const blankLine = "\r\n\r\n"

func (s *signs) Write(p []byte) (int, error) {
	n := len(p)
	if s.err == nil && !s.begun {
		p, s.err = s.begin(p)
	}
	if s.err == nil && s.signing != nil {
		_, s.err = s.signing.Write(p)
	}
	return n, nil
}

// begin gathers the header section and begins to sign behind it. It returns
// what it has of the body.
func (s *signs) begin(p []byte) ([]byte, error) {
	from := max(len(s.head)-len(blankLine)+1, 0)
	s.head = append(s.head, p...)
	i := bytes.Index(s.head[from:], []byte(blankLine))
	switch {
	case i < 0 && len(s.head) > maxSigned:
		return nil, errHeaderTooLarge
	case i < 0:
		return nil, nil
	}
	end := from + i + len(blankLine)
	section, rest := s.head[:end], s.head[end:]
	s.head, s.begun = nil, true
	h, _, err := header.Read(bytes.NewReader(section), maxSigned)
	if err != nil {
		return nil, err
	}
	defer h.Release()
	s.signing, err = s.signer.begin(s.id, h.Value("From"), section)
	return rest, err
}

// close ends the message, which must be done also when it is given up, and
// returns the fields to put on top of it. An error may pass; a message that
// cannot be signed goes unsigned.
func (s *signs) close() ([]byte, error) {
	var fields []byte
	if s.signing != nil {
		s.err = cmp.Or(s.err, s.signing.Close())
		fields = s.signing.Fields()
	}
	for _, never := range [...]error{
		msgauth.ErrFrom, msgauth.ErrTooManyFields, msgauth.ErrBlank, errHeaderTooLarge,
	} {
		if errors.Is(s.err, never) {
			s.signer.unsigned(s.id, "", unfitToSign, s.err)
			return nil, nil
		}
	}
	return fields, s.err
}

// Remove returns content without the n signatures that this relay put on a
// message when it took it: a next hop without 8BITMIME gets other content, so
// they are taken off and made again (RFC 6376 section 5.3). They are the
// topmost ones, because nothing is put on top of a message once it is in the
// queue. Signatures of others stay as they are, broken or not: a verifier takes
// a broken one for none (RFC 6376 section 6.1).
func (d *signer) Remove(content io.Reader, n int) (io.Reader, error) {
	r := bufio.NewReader(content)
	var kept bytes.Buffer
	drop := false
	for left := n; ; {
		line, err := r.Peek(len(signatureName))
		if err != nil && err != io.EOF {
			return nil, err
		}
		fold := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		switch {
		case fold:
		case left == 0 || kept.Len() > maxSigned || len(line) == 0 || line[0] == '\r':
			return io.MultiReader(&kept, r), nil
		default:
			if drop = strings.EqualFold(string(line), signatureName); drop {
				left--
			}
		}
		if err := takeLine(&kept, r, drop); err != nil {
			return nil, err
		}
	}
}

const signatureName = "DKIM-Signature:"

// takeLine reads a line of any length, and keeps it unless it is dropped.
func takeLine(kept *bytes.Buffer, r *bufio.Reader, drop bool) error {
	for {
		piece, err := r.ReadSlice('\n')
		if !drop {
			kept.Write(piece)
		}
		switch {
		case err == bufio.ErrBufferFull && kept.Len() <= maxSigned:
		case err == io.EOF:
			return nil
		default:
			return err
		}
	}
}

// Sign reads content to its end and returns the signatures to put on top, or
// nothing if it can no longer be signed. An error may pass.
func (d *signer) Sign(id string, content io.Reader) ([]byte, error) {
	s := &signs{signer: d, id: id}
	_, err := io.Copy(s, content)
	fields, cerr := s.close()
	if err = cmp.Or(err, cerr); err == nil && len(fields) == 0 {
		d.unsigned(id, "", keyGone, nil)
	}
	return fields, err
}
