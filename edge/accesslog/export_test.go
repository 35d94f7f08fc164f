package accesslog

// For external tests, which may import package cache.
var AppendLine = appendLine

const MaxString = maxString
