package filespool

import "encoding/binary"

type header struct {
	mark                uint64
	seq                 uint64
	kind, version       byte
	meta, content       uint32
	metaSum, contentSum uint32
	segment, batch      uint32
}

// size is the length of the whole record.
func (h *header) size() int64 { return recordSize(h.meta, h.content) }

func recordSize(meta, content uint32) int64 {
	return (headerSize + int64(meta) + int64(content) + alignment - 1) &^ (alignment - 1)
}

func (h *header) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.mark)
	le.PutUint64(b[8:], h.seq)
	b[16], b[17], b[18], b[19] = h.kind, h.version, 0, 0
	le.PutUint32(b[20:], h.meta)
	le.PutUint32(b[24:], h.content)
	le.PutUint32(b[28:], h.metaSum)
	le.PutUint32(b[32:], h.contentSum)
	le.PutUint32(b[36:], h.segment)
	le.PutUint32(b[40:], h.batch)
	le.PutUint32(b[44:], sum(b[:44]))
}

// parse reads a header and reports whether it is whole.
func (h *header) parse(b []byte) bool {
	if len(b) < headerSize {
		return false
	}
	le := binary.LittleEndian
	*h = header{
		mark: le.Uint64(b[0:]), seq: le.Uint64(b[8:]), kind: b[16], version: b[17],
		meta: le.Uint32(b[20:]), content: le.Uint32(b[24:]),
		metaSum: le.Uint32(b[28:]), contentSum: le.Uint32(b[32:]),
		segment: le.Uint32(b[36:]), batch: le.Uint32(b[40:]),
	}
	return le.Uint32(b[44:]) == sum(b[:44])
}
