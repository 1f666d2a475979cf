/* Prints its arguments as the C runtime takes them apart, each in brackets on a line of its own. */
#include <stdio.h>
#include <windows.h>

int wmain(int count, wchar_t **arguments)
{
    char text[4 * 32768];
    for (int index = 0; index < count; index++) {
        WideCharToMultiByte(CP_UTF8, 0, arguments[index], -1, text, sizeof text, NULL, NULL);
        printf("[%s]\n", text);
    }
    return 0;
}
