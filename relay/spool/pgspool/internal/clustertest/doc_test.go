//go:build unix

// Package clustertest_test runs relays in several processes on one PostgreSQL,
// under load and under faults, and holds what has happened against what a relay
// promises: everything acknowledged arrives and has one fate in the event log,
// what arrives twice is explained, and a follower misses nothing.
package clustertest_test
