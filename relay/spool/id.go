package spool

// ID is a message's id: 128 bits, ordered by time of creation, printed as 26
// characters of lower-case base32hex without padding, whose order is the order of the bytes.
type ID [16]byte
