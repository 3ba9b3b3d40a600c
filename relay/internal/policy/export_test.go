package policy

// MaxAbandoned is for tests of what does not return.
const MaxAbandoned = maxAbandoned

// Replies is how many there are.
const Replies = len(table)
