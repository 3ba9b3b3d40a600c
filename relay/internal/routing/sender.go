package routing

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// Signer replaces the signatures that this relay has put on a message, when the
// message has to be converted for a next hop (RFC 6376 section 5.3).
type Signer interface {
	// Remove returns content without the topmost n.
	Remove(content io.Reader, n int) (io.Reader, error)
	// Sign reads the converted content of a message to its end, and returns the
	// fields to put on top of it, which may be none. An error may pass.
	Sign(id string, content io.Reader) ([]byte, error)
}

// own are the signatures of one message.
type own struct {
	Signer
	id string
	n  int
}

// Remove implements [outbound.Signatures].
func (o own) Remove(content io.Reader) (io.Reader, error) { return o.Signer.Remove(content, o.n) }

// Sign implements [outbound.Signatures].
func (o own) Sign(content io.Reader) ([]byte, error) { return o.Signer.Sign(o.id, content) }

// sender makes transactions by the relay's client.
type sender struct {
	client   *outbound.Client
	hostname string
	number   string // of the configuration
	signer   Signer
}

// hop makes a next hop ready for the client.
func (s *sender) hop(of *connector.NextHop, name string) outbound.NextHop {
	h := of.WithDefaults()
	return outbound.NextHop{
		Key:                   s.number + "/" + name,
		Hosts:                 h.Hosts,
		AllowPrivate:          h.AllowPrivateAddresses,
		Port:                  h.Port,
		LMTP:                  h.LMTP,
		TLS:                   h.TLS,
		TLSDomain:             h.TLSDomain,
		RootCAs:               h.RootCAs,
		Certificates:          h.Certificates,
		ImplicitTLS:           h.ImplicitTLS,
		Username:              h.Username,
		Password:              h.Password,
		AllowPlaintextAuth:    h.AllowPlaintextAuth,
		Helo:                  cmp.Or(h.FQDN, s.hostname),
		MaxConnections:        h.MaxConnections,
		MessagesPerConnection: h.MessagesPerConnection,
	}
}

// send makes one transaction.
func (s *sender) send(
	ctx context.Context, hop *outbound.NextHop, a *delivery.Attempt,
) []delivery.Result {
	rcpts := make([]outbound.Recipient, len(a.Recipients))
	for i, r := range a.Recipients {
		rcpts[i] = outbound.Recipient{
			Address: r.Address, ASCII: inASCII(r.Address), ORCPT: r.Original,
		}
		if r.Notify != 0 {
			rcpts[i].Notify = r.Notify.String()
		}
	}
	m := &a.Message
	var signatures outbound.Signatures
	if m.Signatures > 0 {
		signatures = own{Signer: s.signer, id: a.QueueID, n: m.Signatures}
	}
	got := s.client.Deliver(ctx, &outbound.Request{
		ID:         a.QueueID,
		Hop:        hop,
		From:       m.From,
		FromASCII:  inASCII(m.From),
		Recipients: rcpts,
		EnvelopeID: m.EnvelopeID,
		Return:     string(m.Return),
		Body:       string(m.Body),
		UTF8:       m.UTF8,
		Size:       m.Size,
		Open:       a.Open,
		Signatures: signatures,
	})
	results := make([]delivery.Result, len(got))
	for i := range got {
		results[i] = resultOf(&got[i])
	}
	return results
}

// digestOf tells next hops apart by all that they say.
func digestOf(h *connector.NextHop) string {
	type plain connector.NextHop // which prints its fields
	d := sha256.New()
	fmt.Fprintf(d, "%#v", plain(*h))
	return hex.EncodeToString(d.Sum(nil))
}

// inASCII gives another spelling of an address, for a host without SMTPUTF8. It
// is empty where there is none, or none is needed.
func inASCII(address string) string {
	if !strings.ContainsFunc(address, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return ""
	}
	a, err := domains.Parse(address)
	if err != nil {
		return ""
	}
	s, ok := a.ASCII()
	if !ok {
		return ""
	}
	return s
}

func resultOf(r *outbound.Result) delivery.Result {
	reply := delivery.Reply{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text}
	if r.Outcome == outbound.Delivered {
		return delivery.Result{Delivered: true, Host: r.Host, Reply: reply, DSN: r.DSN}
	}
	op, err := delivery.ParseOp(r.Op)
	if err != nil {
		op = delivery.OpContent
	}
	return delivery.Result{Host: r.Host, Err: &delivery.Error{
		Op: op, Host: r.Host, Reply: reply, Err: r.Err, Permanent: r.Outcome == outbound.Permanent,
	}}
}
