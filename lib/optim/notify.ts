/**
 * Calls a listener that may not disturb what it listens to: what it throws is thrown by itself, as an uncaught exception,
 * which is what Node's own EventTarget does.
 */
export function notify<A extends readonly unknown[]>(
  listener: ((...args: A) => void) | undefined,
  ...args: A
): void {
  try {
    listener?.(...args);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
