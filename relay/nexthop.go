package relay

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// SMTP returns a Transport to the hosts of a next hop, for [Config].Mailboxes
// and [Config].Transport. Hosts is required; names may be in U-labels. It works
// only as a part of a Config, whose relay lends it its client and its
// connections: called otherwise it answers an error.
func SMTP(hop connector.NextHop) Transport { return &smtpHop{hop} }

type smtpHop struct{ connector.NextHop }

var errNotBound = errors.New("relay: an SMTP transport works only inside a relay")

func (h *smtpHop) Deliver(_ context.Context, a *Attempt) []Result {
	return failed(a, errNotBound)
}

// onWire returns the hop with its names in A-labels, and its faults.
func (h *smtpHop) onWire() (connector.NextHop, error) {
	hop := h.NextHop
	hop.Hosts = make([]string, len(h.Hosts))
	for i, h := range h.Hosts {
		host, port, err := net.SplitHostPort(h)
		if err != nil {
			hop.Hosts[i] = wireName(h)
		} else if hop.Hosts[i] = h; wireName(host) != host {
			hop.Hosts[i] = net.JoinHostPort(wireName(host), port)
		}
	}
	hop.TLSDomain = wireName(h.TLSDomain)
	err := hop.Validate()
	if len(h.Hosts) == 0 {
		missing := errors.New("at least one host is required")
		err = errors.Join(&postern.FieldError{Field: "Hosts", Err: missing}, err)
	}
	return hop, err
}

// outboundHop makes a next hop ready for the client.
func outboundHop(of *connector.NextHop, key, hostname string) outbound.NextHop {
	h := of.WithDefaults()
	return outbound.NextHop{
		Key:                   key,
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
		Helo:                  cmp.Or(h.FQDN, hostname),
		MaxConnections:        h.MaxConnections,
		MessagesPerConnection: h.MessagesPerConnection,
	}
}

// smtpTransport delivers by the relay's client.
type smtpTransport struct {
	client *outbound.Client
	hop    *outbound.NextHop
	signer *signer
}

// Deliver makes one transaction.
func (t *smtpTransport) Deliver(ctx context.Context, a *Attempt) []Result {
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
	var own outbound.Signatures
	if m.Signatures > 0 {
		own = &ownSignatures{signer: t.signer, id: a.QueueID, n: m.Signatures}
	}
	got := t.client.Deliver(ctx, &outbound.Request{
		ID:         a.QueueID,
		Hop:        t.hop,
		From:       m.From,
		FromASCII:  inASCII(m.From),
		Recipients: rcpts,
		EnvelopeID: m.EnvelopeID,
		Return:     m.Return,
		Body:       m.Body,
		UTF8:       m.UTF8,
		Size:       m.Size,
		Open:       a.Open,
		Signatures: own,
	})
	results := make([]Result, len(got))
	for i := range got {
		results[i] = resultOf(&got[i])
	}
	return results
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

func resultOf(r *outbound.Result) Result {
	if r.Outcome == outbound.Delivered {
		return Result{
			Host: r.Host, Reply: strconv.Itoa(r.Code) + " " + r.Enhanced + " " + r.Text, DSN: r.DSN,
		}
	}
	return Result{Host: r.Host, Err: &DeliveryError{
		Op: r.Op, Host: r.Host, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Err: r.Err,
		Permanent: r.Outcome == outbound.Permanent,
	}}
}
