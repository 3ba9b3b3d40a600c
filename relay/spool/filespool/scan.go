package filespool

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
)

// scan reads the records of a segment in order, each header and meta part and
// no content. What is not a whole record is passed over.
type scan struct {
	file   file
	mark   uint64
	number uint32
	limit  int64  // where the records end, or the file
	exact  bool   // limit is where the records end
	reused bool   // leftovers may lie behind the records
	seq    uint64 // of the last record
	// damaged is told of what was passed over, with the header of a record if
	// that is whole; mended of a record with one wrong byte.
	damaged func(from, to int64, what string, h *header)
	mended  func(from, to int64)

	at    int64 // the next record
	err   error // of reading
	later bool  // a record of a later version was found
	tail  bool  // what follows the last record is not nothing
	read  int64

	buf   []byte // a window of the file
	start int64
	ahead int
}

// found is a record.
type found struct {
	header
	at   int64
	body []byte // the meta part, valid until the next call
}

const windowBytes = 64 << 10

// window returns n bytes at off, fewer where the limit comes before.
func (v *scan) window(off int64, n int) []byte {
	n = int(min(int64(n), v.limit-off))
	if n <= 0 || v.err != nil {
		return nil
	}
	if off < v.start || off+int64(n) > v.start+int64(len(v.buf)) {
		want := int(min(int64(max(n, v.ahead)), v.limit-off))
		v.buf = slices.Grow(v.buf[:0], want)[:want]
		v.start = off
		k, err := v.file.ReadAt(v.buf, off)
		v.read += int64(k)
		if k < want && err != nil && err != io.EOF {
			v.err = err
		}
		v.buf = v.buf[:k]
		n = min(n, k)
	}
	i := off - v.start
	return v.buf[i : i+int64(n)]
}

// header reads the header at off and tells whether it is one of this segment's.
func (v *scan) header(off int64) (h header, ok bool) {
	ok = h.parse(v.window(off, headerSize)) && h.mark == v.mark && h.segment == v.number &&
		h.seq > v.seq && h.size() <= v.limit-off
	if ok && h.version != version {
		v.later = true
		return h, false
	}
	return h, ok
}

// mendHeader puts right one wrong byte of the header at off.
func (v *scan) mendHeader(off int64) bool {
	var h header
	b := v.window(off, headerSize+behind)
	return len(b) >= headerSize && !h.parse(b) && v.mend(b, headerSize, sealed())
}

// behind is how much is looked at behind what may not be written to its end.
// Each batch is followed by as many zeros, unless the file ends there.
const behind = headerSize

// mend puts right one wrong byte of the first n bytes of b.
func (v *scan) mend(b []byte, n int, want uint32) bool {
	if v.exact {
		return mend(b[:n], want) // all of it was written
	}
	return mendWritten(b, n, want)
}

// next returns the next whole record.
func (v *scan) next() (found, bool) {
	if v.at == 0 {
		v.at = segmentHeader
	}
	if v.ahead == 0 {
		v.ahead = windowBytes
	}
	for v.at < v.limit && v.err == nil && !v.later {
		mended := v.mendHeader(v.at)
		h, ok := v.header(v.at)
		what, whole := "not a record", (*header)(nil)
		if ok {
			b, n := v.window(v.at+headerSize, int(h.meta)+behind), int(h.meta)
			body := b[:min(n, len(b))]
			mended = mended || sum(body) != h.metaSum
			if len(body) == n && v.mend(b, n, h.metaSum) {
				if mended && v.mended != nil {
					v.mended(v.at, v.at+h.size())
				}
				r := found{header: h, at: v.at, body: body}
				v.at += h.size()
				v.seq = h.seq
				// Past long content it is cheaper to read little than to read
				// on.
				v.ahead = windowBytes
				if h.content > 4<<10 {
					v.ahead = 1 << 10
				}
				return r, true
			}
			what, whole = "record with a wrong checksum", &h
		}
		to := v.search(v.at + alignment)
		if v.err != nil || v.later {
			break
		}
		if whole != nil && (to > v.at+h.size() || to < 0 && v.exact) {
			to = v.at + h.size() // where the next one begins, damaged as well
		}
		if to < 0 {
			v.end(what, whole)
			break
		}
		v.report(v.at, to, what, whole)
		v.at = to
	}
	return found{}, false
}

// search returns where the next whole record is, or -1.
func (v *scan) search(off int64) int64 {
	var mark [8]byte
	binary.LittleEndian.PutUint64(mark[:], v.mark)
	v.ahead = windowBytes
	for off < v.limit && v.err == nil {
		b := v.window(off, len(mark))
		if len(b) < len(mark) {
			return -1
		}
		b = v.buf[off-v.start:]
		i := bytes.Index(b, mark[:])
		if i < 0 {
			off += int64(len(b) - len(mark) + 1)
			continue
		}
		off += int64(i)
		if off%alignment == 0 {
			if h, ok := v.header(off); ok {
				if body := v.window(off+headerSize, int(h.meta)); len(body) == int(h.meta) &&
					sum(body) == h.metaSum {
					return off
				}
			}
			if v.later {
				return -1
			}
		}
		off++
	}
	return -1
}

// end looks at what lies behind the last record.
func (v *scan) end(what string, h *header) {
	if v.exact {
		v.report(v.at, v.limit, what, h)
		return
	}
	to := v.limit
	if v.reused {
		to = min(v.at+behind, to)
	}
	var end int64
	end, v.err = dataEnd(v.file, v.at, to)
	v.tail = end > v.at
}

func (v *scan) report(from, to int64, what string, h *header) {
	if v.damaged != nil {
		v.damaged(from, to, what, h)
	}
}

// dataEnd returns where the zeros at the end of a file begin.
func dataEnd(f file, from, size int64) (int64, error) {
	buf := make([]byte, windowBytes)
	end := from
	for off := from; off < size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if t := len(bytes.TrimRight(buf[:n], "\x00")); t > 0 {
			end = off + int64(t)
		}
		off += int64(n)
		if err == io.EOF || n == 0 && err == nil {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	return end, nil
}
