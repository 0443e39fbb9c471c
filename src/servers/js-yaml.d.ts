// What we use of js-yaml, which has no types of its own.
declare module 'js-yaml' {
  /** Throws an error with `reason` and `mark` where the text is not YAML. `json`: the last of two equal keys counts. */
  export function load(
    text: string,
    options?: { readonly filename?: string; readonly json?: boolean },
  ): unknown;
}
