package outbound

import (
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// transaction delivers one request, in one mail transaction or more. Its memory
// is used again.
type transaction struct {
	req *Request
	hop hop
	res []delivery.Result // zero: not decided
	// ascii has the spellings of the addresses for a peer without SMTPUTF8,
	// that of the sender last; nil if all are ASCII.
	ascii []string
	utf8  bool // there is an address that is not ASCII
	// todo are the recipients still to be asked, accepted those taken in this
	// transaction, over those of which the peer says that they are too many for
	// it. All are indexes into res.
	todo, accepted, over []int
	asked                int  // of todo, in this transaction
	maxRcpt              int  // recipients that the peer takes, learned from refusals; 0: unknown
	nth                  int  // of the connection's transactions
	again                bool // the connection was used before
	ahead                bool // behind a transaction that had not ended
	outran               bool // going ahead was more than the peer could take
	runs                 bool // the peer has run the octets of a refused chunk
	seat                 seat
	on                   *conn // in use
	due                  due
	mailed               bool // MAIL was accepted
	ended                bool // the end of the content may have reached the peer
	delivered            bool // the message was taken for somebody
	lost                 *delivery.Error
	body                 content
	plan                 *sevenbit.Plan // of the content, once a peer has made it necessary
	chunked              bool           // it goes out by BDAT
	bare                 bool           // it has a CR or an LF on its own, which DATA cannot carry
	seven                bool           // the content goes out as 7-bit MIME
	keep                 bool           // with its headers as they are
	signed               bool           // signatures is of the converted content
	signatures           []byte
}

// begin checks what will stand on the wire: no octet of a request can end a
// line or a path there.
func (t *transaction) begin(r *Request) {
	t.req, t.res, t.plan = r, make([]delivery.Result, len(r.Recipients)), nil
	t.keep, t.signed, t.signatures, t.bare = false, false, nil, false
	t.maxRcpt, t.seat.may = 0, true
	t.spell()
	t.todo = t.todo[:0]
	for i := range r.Recipients {
		if failed := t.checkRecipient(i); failed != nil {
			t.res[i] = delivery.Failed(failed)
		} else {
			t.todo = append(t.todo, i)
		}
	}
	m := &r.Message
	switch {
	case !fitAddress(m.From):
		t.give(permanent(delivery.OpMail, "5.1.7", errAddress))
	case !fitText(m.EnvelopeID) || len(m.EnvelopeID) > maxPath || !fitWord(string(m.Return)):
		t.give(permanent(delivery.OpMail, "5.5.4", errParameter))
	}
}

func (t *transaction) checkRecipient(i int) *delivery.Error {
	switch r := &t.req.Recipients[i]; {
	case r.Address == "" || !fitAddress(r.Address) || t.ascii != nil && !fitAddress(t.ascii[i]):
		return permanent(delivery.OpRcpt, "5.1.3", errAddress)
	case !fitText(r.Original) || len(r.Original) > maxPath:
		return permanent(delivery.OpRcpt, "5.5.4", errParameter)
	}
	return nil
}

// spell finds the spellings for a peer without SMTPUTF8.
func (t *transaction) spell() {
	r := t.req
	t.ascii = nil
	t.utf8 = !isASCII(r.Message.From)
	for i := range r.Recipients {
		t.utf8 = t.utf8 || !isASCII(r.Recipients[i].Address)
	}
	if !t.utf8 {
		return
	}
	t.ascii = make([]string, 0, len(r.Recipients)+1)
	for i := range r.Recipients {
		t.ascii = append(t.ascii, inASCII(r.Recipients[i].Address))
	}
	t.ascii = append(t.ascii, inASCII(r.Message.From))
}

// fromFor is the spelling of the reverse-path for a peer.
func (t *transaction) fromFor(c *conn) string {
	if t.ascii != nil && !c.ext.utf8 {
		return t.ascii[len(t.ascii)-1]
	}
	return t.req.Message.From
}

// rcptFor is the spelling of a recipient for a peer.
func (t *transaction) rcptFor(c *conn, i int) string {
	if t.ascii != nil && !c.ext.utf8 {
		return t.ascii[i]
	}
	return t.req.Recipients[i].Address
}

// inASCII is another spelling of an address that is not ASCII, with its domain
// in A-labels: RFC 6531 section 3.2 counts that as ASCII. It is the address
// where there is none.
func inASCII(address string) string {
	if isASCII(address) {
		return address
	}
	a, err := domains.Parse(address)
	if err != nil {
		return address
	}
	if s, ok := a.ASCII(); ok {
		return s
	}
	return address
}

// due says which replies are outstanding.
type due struct {
	rset, probe, mail, data bool
	next                    int // the first recipient without
}
