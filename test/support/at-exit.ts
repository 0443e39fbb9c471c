// What must not outlive the test process ends with it. One listener for all of them: Node warns at the eleventh.
const ends = new Set<() => void>();

process.on('exit', () => {
  for (const end of ends) {
    try {
      end();
    } catch {
      // What could not be ended keeps none of the others.
    }
  }
});

/** Calls `end`, which cannot wait for anything, when this process exits; not any more after what is returned has been called. */
export function atExit(end: () => void): () => void {
  ends.add(end);
  return () => void ends.delete(end);
}
