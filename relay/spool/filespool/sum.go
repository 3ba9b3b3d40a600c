package filespool

import "hash/crc32"

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func extend(s uint32, p []byte) uint32 { return crc32.Update(s, castagnoli(), p) }

func sum(parts ...[]byte) uint32 {
	var s uint32
	for _, p := range parts {
		s = extend(s, p)
	}
	return s
}
