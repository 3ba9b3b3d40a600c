package smtpd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

const (
	maxProxyV1 = 107 // octets of a header of version 1
	// octets of a header of version 2; a certificate of the client's may be in
	// it
	maxProxyV2 = 4096
)

const (
	proxyV1 = "PROXY "
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

var errProxy = errors.New("smtpd: no PROXY header, or not a proper one")

// proxyState says whether a connection begins with a PROXY header.
type proxyState uint8

const (
	proxyNone proxyState = iota
	proxyExpected
	proxyRead
)

// startsHeader reports whether b begins with a header or the part of one that
// tells it from all else.
func startsHeader(b []byte) bool {
	return bytes.HasPrefix(b, []byte(proxyV1)) || bytes.HasPrefix(b, []byte(proxyV2))
}

// headerLength returns the length of the header at the start of b; 0 if
// more of it is needed to tell.
func headerLength(b []byte) (int, error) {
	switch {
	case bytes.HasPrefix(b, []byte(proxyV2)):
		if len(b) < 16 {
			return 0, nil
		}
		n := 16 + int(binary.BigEndian.Uint16(b[14:]))
		if n > maxProxyV2 {
			return 0, errProxy
		}
		if len(b) < n {
			return 0, nil
		}
		return n, nil
	case bytes.HasPrefix(b, []byte(proxyV1)):
		i := bytes.IndexByte(b[:min(len(b), maxProxyV1)], '\n')
		if i < 0 && len(b) >= maxProxyV1 {
			return 0, errProxy
		}
		return i + 1, nil
	case bytes.HasPrefix([]byte(proxyV2), b), bytes.HasPrefix([]byte(proxyV1), b):
		return 0, nil
	}
	return 0, errProxy
}

// endpoints are what a header tells of the client's connection.
type endpoints struct {
	own      bool // the proxy speaks for itself
	from, to netip.AddrPort
}

// parseHeader reads one whole header.
func parseHeader(b []byte) (endpoints, error) {
	r := bytes.NewReader(b)
	buf := bufio.NewReaderSize(r, 256) // the parser wants a header of version 1 in one read
	h, err := proxyproto.Read(buf)
	if err != nil {
		return endpoints{}, err
	}
	if h.Command.IsLocal() {
		return endpoints{own: true}, nil
	}
	from, to, ok := h.TCPAddrs()
	if !ok || r.Len()+buf.Buffered() != 0 {
		return endpoints{}, errProxy
	}
	e := endpoints{from: addrPort(from), to: addrPort(to)}
	if !isHost(e.from.Addr()) || !isHost(e.to.Addr()) {
		return endpoints{}, errProxy
	}
	return e, nil
}
