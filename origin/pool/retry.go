package pool

// retryReasons are the reasons for which a request is sent again, and the values of a label. Errors of a dial are not
// among them: a dial goes through every address, and the keeper dials again.
var retryReasons = [...]string{"goaway", "unusable", "stream-refused"}

// RetryReasons returns the reasons that Status.Retries counts.
func RetryReasons() []string { return append([]string(nil), retryReasons[:]...) }

// retryReason says why a request that failed with k may be sent again over another connection, as an index of
// retryReasons. The rule is RFC 9113 section 8.7: only what the origin certainly did not process. A connection that broke
// with a request in flight is not in the table, whatever the method: the application may be at work on it.
func retryReason(k Kind) (why int, again bool) {
	switch k {
	case KindGoAway: // stream above the last one that the origin took (RFC 9113 section 6.8)
		return 0, true
	case KindUnusable: // not a byte was written
		return 1, true
	case KindStreamRefused: // REFUSED_STREAM is the origin's word that it did nothing
		return 2, true
	}
	return 0, false
}
