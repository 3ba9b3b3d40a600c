package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"
)

// udpSize is what an answer by UDP may have: it passes without fragments.
const udpSize = 1232

// errUnreadable tells that an answer came that cannot be read.
var (
	errUnreadable = errors.New("answer cannot be read")
	errMismatch   = errors.New("answer to another question")
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// askOver sends a query to a server and waits for the answer.
func askOver(
	ctx context.Context, dial dialFunc, timeout time.Duration, network, addr string,
	query *dns.Msg,
) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	packed, err := query.Pack()
	if err != nil {
		return nil, err
	}
	if network == "udp" {
		return askUDP(conn, packed, query)
	}
	return askTCP(conn, packed, query)
}

// askUDP waits until the answer comes, whatever else does: anybody can send a
// datagram.
func askUDP(conn net.Conn, packed []byte, query *dns.Msg) (*dns.Msg, error) {
	if _, err := conn.Write(packed); err != nil {
		return nil, err
	}
	buf := make([]byte, 2*udpSize)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		m, err := unpack(buf[:n], query)
		if !errors.Is(err, errMismatch) {
			return m, err
		}
	}
}

// askTCP frames by length (RFC 1035 section 4.2.2).
func askTCP(conn net.Conn, packed []byte, query *dns.Msg) (*dns.Msg, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(packed)), uint16(len(packed)))
	if _, err := conn.Write(append(framed, packed...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	return unpack(buf, query)
}

// unpack reads an answer. The id and the question come first: what has others
// is none.
func unpack(packed []byte, query *dns.Msg) (*dns.Msg, error) {
	m := new(dns.Msg)
	err := m.Unpack(packed)
	if m.Id != query.Id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil, errMismatch
	}
	bare := len(m.Question) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	if !bare && !sameQuestion(m.Question, query.Question) {
		return nil, errMismatch
	}
	if err != nil && !m.Truncated {
		return nil, errUnreadable
	}
	return m, nil
}

func sameQuestion(a, b []dns.Question) bool {
	return len(a) == 1 && a[0].Qtype == b[0].Qtype && a[0].Qclass == b[0].Qclass &&
		sameName(a[0].Name, b[0].Name)
}
