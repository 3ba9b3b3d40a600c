package filespool

import (
	"encoding/binary"
	"strings"

	"github.com/postern-mail/postern/relay/spool"
)

// A key stands in a record as a string: a zero byte, the length of the route,
// the route, the length of the domain, the domain, the stream. Revisions that
// knew routes alone wrote the name of one, in which "mx/" stood in front of the
// domain; it begins with no zero byte.

// packKey returns the string for a key.
func packKey(k spool.Key) []byte {
	b := make([]byte, 0, 1+2*binary.MaxVarintLen16+len(k.Route)+len(k.Domain)+len(k.Stream))
	return appendPacked(b, k)
}

func appendPacked(b []byte, k spool.Key) []byte {
	b = appendString(appendString(append(b, 0), k.Route), k.Domain)
	return append(b, k.Stream...)
}

// appendKey appends a key to a record.
func appendKey(b []byte, k spool.Key) []byte {
	var scratch [128]byte
	packed := appendPacked(scratch[:0], k)
	return append(binary.AppendUvarint(b, uint64(len(packed))), packed...)
}

// parseKey reads the string for a key, also one of an earlier revision.
func parseKey(s string) (k spool.Key) {
	if rest, ok := strings.CutPrefix(s, "\x00"); ok {
		d := &decoder{b: []byte(rest), s: rest}
		k.Route, k.Domain = d.string(), d.string()
		k.Stream = rest[d.at:]
		return k
	}
	const mx = "mx/"
	if rest, ok := strings.CutPrefix(s, mx); ok {
		domain, name, _ := strings.Cut(rest, "/")
		return spool.Key{Route: mx + name, Domain: domain}
	}
	return spool.Key{Route: s}
}
