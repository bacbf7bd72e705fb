/** Registers of the goldfish RTC (QEMU hw/rtc/goldfish_rtc.c), 32 bits each. */

/** Nanoseconds since 1970, low half; reading it latches the high half. */
export const TIME_LOW = 0x00;
export const TIME_HIGH = 0x04;
/** Alarm time; writing the low half arms the alarm. */
export const ALARM_LOW = 0x08;
export const ALARM_HIGH = 0x0c;
export const IRQ_ENABLED = 0x10;
/** Any write disarms the alarm. */
export const CLEAR_ALARM = 0x14;
/** 1 while the alarm is armed. */
export const ALARM_STATUS = 0x18;
/** Any write lowers the interrupt. */
export const CLEAR_INTERRUPT = 0x1c;
